"""Phone table of the built-in subject: formants and mouth shapes.

Vowel formants are rounded values of an adult voice. Lip and jaw targets are fractions of the
subject's largest opening, rounding and so on.
"""

from dataclasses import dataclass

LIP_CHANNELS = ("jaw", "press", "round", "spread", "lift", "lower", "tuck")


@dataclass(frozen=True)
class Phone:
    """One speech sound.

    Attributes:
        seconds: usual length.
        formants: first three resonances of the mouth, Hz.
        voice: loudness of the glottal sound, 0..1.
        hiss: loudness of the turbulence, 0..1.
        hiss_hertz: center of the turbulence's spectrum.
        jaw, press, round, spread, lift, lower, tuck: lip and jaw targets, 0..1: jaw opening,
            lips pressed together, lips rounded, corners drawn apart, upper lip raised, lower lip
            lowered, lower lip tucked under the upper teeth.
        firmness: dominance of the targets over those of the neighbors.
    """

    seconds: float
    formants: tuple[float, float, float] = (500.0, 1500.0, 2500.0)
    voice: float = 0.0
    hiss: float = 0.0
    hiss_hertz: float = 4000.0
    jaw: float = 0.0
    press: float = 0.0
    round: float = 0.0
    spread: float = 0.0
    lift: float = 0.0
    lower: float = 0.0
    tuck: float = 0.0
    firmness: float = 1.0

    @property
    def lips(self) -> tuple[float, ...]:
        """The targets in the order of `LIP_CHANNELS`."""
        return (
            self.jaw, self.press, self.round, self.spread, self.lift, self.lower, self.tuck,
        )  # fmt: skip


PHONES: dict[str, Phone] = {
    "-": Phone(0.30, jaw=0.0, press=0.1, firmness=1.0),
    # vowels
    "aa": Phone(0.17, (730, 1090, 2440), 1.0, jaw=1.0, lower=0.25),
    "ae": Phone(0.16, (660, 1720, 2410), 0.95, jaw=0.85, spread=0.35, lift=0.2, lower=0.2),
    "ah": Phone(0.13, (640, 1190, 2390), 0.85, jaw=0.65, lower=0.1),
    "ax": Phone(0.09, (500, 1500, 2500), 0.6, jaw=0.42),
    "eh": Phone(0.13, (530, 1840, 2480), 0.8, jaw=0.6, spread=0.35, lower=0.15),
    "ih": Phone(0.10, (390, 1990, 2550), 0.62, jaw=0.4, spread=0.4),
    "iy": Phone(0.14, (270, 2290, 3010), 0.55, jaw=0.28, spread=0.9, lift=0.25, lower=0.3),
    "ao": Phone(0.16, (570, 840, 2410), 0.95, jaw=0.8, round=0.6),
    "uh": Phone(0.11, (440, 1020, 2240), 0.6, jaw=0.38, round=0.6),
    "uw": Phone(0.15, (300, 870, 2240), 0.5, jaw=0.22, round=1.0),
    # glides and liquids
    "w": Phone(0.08, (300, 650, 2200), 0.35, jaw=0.12, round=1.0, firmness=1.5),
    "y": Phone(0.07, (280, 2250, 2950), 0.35, jaw=0.2, spread=0.7),
    "l": Phone(0.08, (360, 1150, 2650), 0.4, jaw=0.35, firmness=0.7),
    "r": Phone(0.08, (320, 1080, 1450), 0.4, jaw=0.25, round=0.45),
    "h": Phone(0.07, (600, 1600, 2500), 0.0, 0.10, 1800, jaw=0.4, firmness=0.4),
    # nasals
    "m": Phone(0.09, (260, 950, 2200), 0.28, press=1.0, firmness=3.0),
    "n": Phone(0.08, (280, 1700, 2600), 0.28, jaw=0.2),
    # stops: a closure; the burst is added when the next phone begins
    "p": Phone(0.10, (300, 900, 2200), 0.0, press=1.0, firmness=3.0),
    "b": Phone(0.09, (280, 900, 2200), 0.10, press=1.0, firmness=3.0),
    "t": Phone(0.08, (350, 1750, 2650), 0.0, jaw=0.15, spread=0.2),
    "d": Phone(0.07, (300, 1750, 2650), 0.10, jaw=0.18, spread=0.15),
    "k": Phone(0.08, (320, 1900, 2400), 0.0, jaw=0.28, firmness=0.7),
    # fricatives
    "f": Phone(0.10, (350, 1400, 2400), 0.0, 0.07, 7000, jaw=0.08, tuck=1.0, lift=0.2, firmness=2),
    "v": Phone(0.08, (330, 1400, 2400), 0.18, 0.04, 7000, jaw=0.08, tuck=1.0, lift=0.2, firmness=2),
    "s": Phone(0.10, (350, 1700, 2600), 0.0, 0.13, 6500, jaw=0.08, spread=0.5, lift=0.3, lower=0.5),
    "z": Phone(0.09, (320, 1700, 2600), 0.15, 0.08, 6500, jaw=0.1, spread=0.4, lift=0.3, lower=0.5),
    "sh": Phone(0.11, (350, 1900, 2500), 0.0, 0.15, 3500, jaw=0.1, round=0.75, lift=0.2, lower=0.3),
}  # fmt: skip

STOPS = {"p": 1000.0, "b": 900.0, "t": 4500.0, "d": 4000.0, "k": 2200.0}

# Every phrase occurs at least twice in a clip of twelve seconds, so that mouth shapes of held-out
# frames also occur in training.
PHRASES: tuple[str, ...] = (
    "h eh l ow_ m ay_ n ey_ m ih z eh m ax",
    "w iy s ao ax b l uw b ow_ t",
    "p aa p ax m ey_ d f ay_ v p ay_ z",
)

# Other words from the same phones. No clip is rendered of them: a voice learned from the clip is
# tested on them.
TEST_PHRASES: tuple[str, ...] = (
    "n uw p iy p ax l w ey_ t ax t h ow_ m",
    "aa n ax s ao f ay_ v w ay_ t b ow_ t s",
    "l eh t m iy h eh l p b ih l f iy d b ow_ w ax m",
)

# "Hello, it is so nice to meet Emma": what the built-in subject says when it is driven by a sound.
HELLO = "h eh l ow_ ih t ih z s ow_ n ay_ s t uw m iy t eh m ax"

DIPHTHONGS = {"ay_": ("aa", "iy"), "ey_": ("eh", "iy"), "ow_": ("ao", "uw")}
