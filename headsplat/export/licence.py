"""Whether a file for others may hold shapes of a head model."""

from headsplat.export.options import ANY
from headsplat.heads.model import HeadModel
from headsplat.heads.packed import may_be_copied
from headsplat.runtime.errors import UserError, shown


def require_copies(head: HeadModel, pass_on_head: str) -> None:
    """Refuse a head model that must stay with its user.

    Args:
        head: the head model of the avatar.
        pass_on_head: `FREE` or `ANY`; with `ANY` the user says that their licence allows it.

    Raises:
        UserError: its licence does not permit copies.
    """
    if pass_on_head != ANY and not may_be_copied(head):
        raise UserError(
            f"the head model {head.name} has the licence {shown(head.licence)}, and the file would "
            f"hold its shapes; if you may pass them on, set export.pass_on_head: {ANY}"
        )
