"""Determine which assets a configuration needs, and the state of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headsplat_workflow.assets.catalogue import CATALOGUE
from headsplat_workflow.assets.locate import expected, locate
from headsplat_workflow.assets.verify import HashRecord, signature_problem
from headsplat_workflow.subjects import Subject

from headsplat.heads.registry import HEADS
from headsplat.masks.mask_model import AUTO, MaskModel, candidates
from headsplat.masks.matting_models import MATTING_MODELS
from headsplat.masks.parsing_models import PARSING_MODELS
from headsplat.registry import Registry
from headsplat.runtime.errors import UserError
from headsplat.speech.voices import VOICES

FOLDER = "assets"
# Section of the configuration -> registry of its models.
NETWORKS: dict[str, Registry[MaskModel]] = {
    "matte": MATTING_MODELS,
    "parse": PARSING_MODELS,
}


@dataclass(frozen=True)
class Need:
    """One asset that a configuration can use.

    Attributes:
        key: of `CATALOGUE`.
        path: where it lies, or would lie.
        required: whether a run fails without it.
    """

    key: str
    path: Path
    required: bool

    @property
    def found(self) -> bool:
        """Whether the path exists."""
        return self.path.exists()

    @property
    def remedy(self) -> str:
        """Where to download it, under which licence, and the accepted names."""
        asset = CATALOGUE[self.key]
        names = [*asset.names, *(f"{name} (zip)" for name in asset.archives)]
        return f"get it at {asset.page} ({asset.licence}); accepted names: {', '.join(names)}"


class Assets:
    """The assets of one configuration.

    Args:
        config: the whole configuration.
        subjects: by name.
        settings: (subject, section) -> the section as the subject's preset leaves it.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        subjects: Mapping[str, Subject],
        settings: Callable[[str, str], Mapping[str, Any]],
    ) -> None:
        self._config, self._subjects, self._settings = config, subjects, settings

    def need(self, key: str, required: bool) -> Need:
        """The path of asset `key` under this configuration, whether or not it exists."""
        folder, named = Path(FOLDER), None
        if key == "ict":
            configured = Path(self._config["heads"]["ict"])
            if configured.exists() or configured.name not in CATALOGUE[key].names:
                named = str(configured)
            folder = configured.parent
        elif key.startswith("flame_"):
            folder = Path(self._config["heads"]["flame"])
        else:
            named = self._config["networks"].get(key)
        return Need(key, locate(key, folder, named) or expected(key, folder, named), required)

    def all(self) -> list[Need]:
        """Every asset that a subject uses or could use, without duplicates."""
        required: dict[str, bool] = {}
        for subject in self._subjects.values():
            for key, needed in self._of(subject):
                required[key] = required.get(key, False) or needed
        return [self.need(key, needed) for key, needed in required.items()]

    def _of(self, subject: Subject) -> list[tuple[str, bool]]:
        """(key, required) of one subject's assets."""
        found = [(key, True) for key in HEADS[subject.head].assets]
        if self._uses_mica(subject):
            found.append(("mica", self._named("mica")))
        for section, models in NETWORKS.items():
            chosen = self._settings(subject.name, section)["model"]
            keys = [models[name].weights for name in candidates(models, chosen)]
            found += [(key, chosen != AUTO or self._named(key)) for key in keys if key]
        if self._settings(subject.name, "train")["lpips_weight"]:
            found += [("lpips_backbone", False), ("lpips_linear", False)]
        return found

    def _named(self, key: str) -> bool:
        """Whether the configuration names a file for this asset, which makes it required."""
        return self._config["networks"].get(key) is not None

    def _uses_mica(self, subject: Subject) -> bool:
        """Whether MICA estimates the identity: FLAME head, no identity in the table, no import."""
        flame = HEADS[subject.head].mica
        return flame and not subject.identity and not subject.imported

    def weights(self, subject: str, section: str) -> Need | None:
        """The weights file for a subject's `section`; None if no network runs there.

        Raises:
            UserError: the configuration asks for a network whose file is missing or damaged.
        """
        return self.network(subject, section)[1]

    def network(self, subject: str, section: str) -> tuple[str, Need | None]:
        """(model name, weights) of a subject's `section`; see `weights`."""
        models, chosen = NETWORKS[section], self._settings(subject, section)["model"]
        name = ""
        for name in candidates(models, chosen):
            key = models[name].weights
            if key is None:
                return name, None
            need = self._usable(self.need(key, chosen != AUTO or self._named(key)))
            if need is not None:
                return name, need
        return name, None

    def identity_weights(self, subject: str) -> Need | None:
        """MICA's weights, if the head is FLAME and nothing else provides the identity."""
        if not self._uses_mica(self._subjects[subject]):
            return None
        return self._usable(self.need("mica", self._named("mica")))

    def voices_found(self) -> set[str]:
        """Names of the assets of voices that are there."""
        keys = {key for voice in VOICES.values() for key in voice.assets}
        return {key for key in keys if self.need(key, False).found}

    def of_voice(self, name: str) -> dict[str, Need]:
        """The assets of a voice, by name: all that it needs, and the optional ones that are there.

        Raises:
            UserError: a needed one is missing or damaged.
        """
        voice = VOICES[name]
        needs = {key: self.required(key) for key in voice.assets}
        optional = {key: self._usable(self.need(key, self._named(key))) for key in voice.optional}
        return needs | {key: need for key, need in optional.items() if need is not None}

    def required(self, key: str) -> Need:
        """An asset that a rule cannot run without.

        Raises:
            UserError: it is missing or damaged.
        """
        need = self.need(key, True)
        self._usable(need)
        return need

    def _usable(self, need: Need) -> Need | None:
        """The asset; None if absent and optional. An error lists all problems found."""
        trouble = problem(need)
        if trouble is None:
            return need if need.found else None
        lines = [f"{need.path}: {trouble}"]
        lines += [
            f"{other.path}: {found}"
            for other in self.all()
            if other.path != need.path and (found := problem(other)) is not None
        ]
        raise UserError(*lines)


def problem(need: Need, record: HashRecord | None = None) -> str | None:
    """Describe what is wrong with an asset and how to fix it; None if nothing is.

    Args:
        need: the asset; an optional one may be missing.
        record: verifies the hash too; None skips it.
    """
    if not need.found:
        return f"is missing; {need.remedy}" if need.required else None
    trouble = signature_problem(need.path)
    if trouble is None and record is not None:
        trouble = record.problem(need.path, CATALOGUE[need.key].hashes.get(need.path.name))
    return None if trouble is None else f"{trouble}; {need.remedy}"


def as_flags(needs: list[Need]) -> list[str]:
    """Command-line flags for assets; the inverse of `parse`."""
    return [
        f"--{'required' if need.required else 'optional'}={need.key}={need.path}" for need in needs
    ]


def parse(texts: list[str], required: bool) -> list[Need]:
    """Parse `key=path` texts.

    Raises:
        UserError: the key is not in the catalogue.
    """
    needs = []
    for text in texts:
        key, _, path = text.partition("=")
        if key not in CATALOGUE or not path:
            raise UserError(f"'{text}': expected asset=path; assets: {', '.join(CATALOGUE)}")
        needs.append(Need(key, Path(path), required))
    return needs
