"""Objects that a caption may name: the 80 categories of COCO with the words people use for them.

After CHAIR (Rohrbach et al. 2018, Object Hallucination in Image Captioning), which measures captions
by the objects that they name and the picture does not show. The lists of words are this project's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

_WORDS = """
person: man woman boy girl child kid baby toddler people men women children lady guy gentleman player rider
  skier snowboarder surfer skateboarder pedestrian adult skater cyclist
bicycle: bike
car: automobile sedan taxi cab suv
motorcycle: motorbike moped scooter
airplane: plane jet aeroplane airliner
bus: coach
train: locomotive tram subway
truck: pickup lorry
boat: ship canoe kayak sailboat yacht ferry rowboat
traffic light: stoplight traffic_signal
fire hydrant: hydrant
stop sign:
parking meter:
bench: park_bench
bird: duck goose seagull parrot pigeon owl swan eagle penguin chicken rooster dove
cat: kitten kitty feline
dog: puppy canine pup
horse: pony foal
sheep: lamb ram
cow: cattle bull calf ox
elephant:
bear: panda
zebra:
giraffe:
backpack: rucksack knapsack
umbrella: parasol
handbag: purse
tie: necktie bow_tie
suitcase: luggage
frisbee:
skis: ski
snowboard:
sports ball: soccer_ball tennis_ball basketball baseball football volleyball
kite:
baseball bat:
baseball glove: mitt
skateboard:
surfboard:
tennis racket: racket racquet
bottle:
wine glass: wineglass
cup: mug teacup
fork:
knife:
spoon:
bowl:
banana:
apple:
sandwich: burger hamburger cheeseburger
orange: oranges
broccoli:
carrot:
hot dog: hotdog
pizza:
donut: doughnut
cake: cupcake cheesecake
chair: armchair stool
couch: sofa loveseat
potted plant: houseplant
bed: bunk_bed
dining table: table
toilet: urinal
tv: television monitor tv_set
laptop: notebook_computer laptop_computer
mouse: computer_mouse
remote: remote_control
keyboard:
cell phone: cellphone smartphone mobile_phone iphone phone
microwave: microwave_oven
oven: stove
toaster:
sink: washbasin
refrigerator: fridge freezer
book: novel textbook
clock: clock_tower
vase:
scissors:
teddy bear: teddy stuffed_bear
hair drier: hair_dryer hairdryer blow_dryer
toothbrush:
"""
_NOT_A_NAME = frozenset({"orange"})
"""Mostly a colour: only the plural names the fruit."""


def _read(words: str) -> dict[str, str]:
    """Return each phrase to the object that it names."""
    phrases = {}
    for line in re.sub(r"\n\s+", " ", words.strip()).splitlines():
        name, _, others = line.partition(":")
        for phrase in (name, *(word.replace("_", " ") for word in others.split())):
            if phrase not in _NOT_A_NAME:
                phrases[phrase] = name
    return phrases


COCO_OBJECTS: Mapping[str, str] = MappingProxyType(_read(_WORDS))
"""Phrase in the singular to the category of COCO that it names."""


def named_objects(text: str, vocabulary: Mapping[str, str]) -> frozenset[str]:
    """Return the objects that a text names; the longest phrase counts, so a hot dog is no dog.

    Parameters
    ----------
    vocabulary : Mapping[str, str]
        Phrase in the singular to object.
    """
    words = re.findall(r"[a-z]+", text.lower())
    longest = max((phrase.count(" ") + 1 for phrase in vocabulary), default=0)
    found, place = set(), 0
    while place < len(words):
        for length in range(longest, 0, -1):
            name = _lookup(words[place : place + length], vocabulary)
            if name is not None:
                found.add(name)
                break
        place += length if name is not None else 1
    return frozenset(found)


def vocabulary_of(names: Iterable[str]) -> dict[str, str]:
    """Return COCO's objects and further ones, such as the concepts of a study, as a vocabulary.

    Parameters
    ----------
    names : Iterable of str
        Further objects; a name that COCO knows stands for COCO's.
    """
    further = {plain(name): plain(name) for name in names}
    return further | dict(COCO_OBJECTS)


def plain(name: str) -> str:
    """Return a name as people write it: ``aircraft_carrier`` as "aircraft carrier"."""
    return " ".join(re.findall(r"[a-z]+", name.lower()))


def _lookup(words: list[str], vocabulary: Mapping[str, str]) -> str | None:
    """Look a phrase up, as it is or in the singular."""
    *first, last = words
    endings = [last, last.removesuffix("s"), last.removesuffix("es")]
    if last.endswith("ves"):
        endings.append(last.removesuffix("ves") + "fe")
    phrases = (" ".join([*first, ending]) for ending in endings)
    return next((vocabulary[phrase] for phrase in phrases if phrase in vocabulary), None)
