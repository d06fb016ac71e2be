"""Renders the sprite sheet data/assets/sprites.parquet: object-like emoji of Noto Color Emoji with plain names.

Run once per change of the tables below; the same font, Pillow and pyarrow give the same bytes. Does not know what the
sprites are used for. Names and groups come from Unicode's emoji-test.txt (UTS #51), pictures from the font's bitmaps.
"""

import argparse
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
NAMES = Path("/usr/share/unicode/emoji/emoji-test.txt")
SHEET = Path("data/assets/sprites.parquet")

STRIKE_PX = 109
"""The only size of the font's bitmaps."""
GLYPH_ADVANCE_PX = 136
"""Advance of one glyph at that size; a sequence that the font cannot draw as one glyph is wider."""
SPRITE_PX = 64
INK_ALPHA = 16
"""Opacity (0..255) from which a pixel counts as part of the picture and not as its fringe."""

GROUPS = ("Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects")

# Pictures of scenery, symbols rather than things, parts, people, and near-copies of a sprite that stays.
EXCLUDED = """
dog, guide dog, service dog, cat, tiger, horse, cow, pig, pig nose, mouse, rabbit, monkey, dragon, two-hump camel,
spouting whale, front-facing baby chick, white flower, rosette, shamrock, empty nest, leaf fluttering in wind,
clinking beer mugs, pouring liquid, fork and knife with plate, globe showing Europe-Africa,
globe showing Asia-Australia, globe with meridians, map of Japan, snow-capped mountain, camping, beach with umbrella,
desert, national park, houses, house with garden, love hotel, Japanese post office, kaaba, foggy, night with stars,
cityscape, sunrise over mountains, sunrise, cityscape at dusk, sunset, bridge at night, hot springs, bullet train,
station, mountain railway, tram car, metro, suspension railway, aerial tramway, oncoming bus, oncoming police car,
oncoming taxi, oncoming automobile, motorway, railway track, passenger ship, airplane departure, airplane arrival,
horizontal traffic light, hourglass not done, new moon, waxing crescent moon, first quarter moon, waxing gibbous moon,
waning gibbous moon, last quarter moon, waning crescent moon, new moon face, first quarter moon face,
last quarter moon face, full moon face, sun with face, glowing star, shooting star, milky way, sun behind small cloud,
sun behind large cloud, sun behind rain cloud, cloud with lightning and rain, fog, wind face,
umbrella with rain drops, snowman without snow, fireworks, sparkler, moon viewing ceremony, Japanese dolls,
admission tickets, 1st place medal, 2nd place medal, 3rd place medal, spade suit, heart suit, diamond suit, club suit,
joker, mahjong red dragon, flower playing cards, muted speaker, speaker low volume, speaker medium volume,
bell with slash, musical score, musical notes, mobile phone with arrow, low battery, dvd, computer disk,
camera with flash, magnifying glass tilted right, notebook with decorative cover, page facing up, bookmark tabs,
yen banknote, pound banknote, money with wings, chart increasing with yen, e-mail, incoming envelope,
envelope with arrow, outbox tray, inbox tray, closed mailbox with lowered flag, open mailbox with raised flag,
open mailbox with lowered flag, open file folder, tear-off calendar, spiral calendar, card index dividers,
chart increasing, chart decreasing, linked paperclips, unlocked, locked with pen, locked with key, hammer and pick,
hammer and wrench, link, elevator, hamsa
"""

# Where Unicode's name is not what one would call the picture.
RENAMED = """
T-Rex: t-rex; leafy green: lettuce; bread: loaf of bread; baguette bread: baguette; cheese wedge: wedge of cheese;
poultry leg: chicken leg; cooking: fried egg; shallow pan of food: paella; pot of food: stew pot; salt: salt shaker;
fish cake with swirl: fish cake; steaming bowl: bowl of noodles; curry rice: plate of curry; sake: sake bottle;
soft ice cream: ice cream cone; ice cream: bowl of ice cream; cooked rice: bowl of rice; canned food: food can;
hot beverage: cup of coffee; teacup without handle: cup of tea; bottle with popping cork: champagne bottle;
beverage box: juice box; mate: mate gourd; ice: ice cube; fork and knife: knife and fork;
globe showing Americas: globe; building construction: construction crane; brick: brick wall; wood: tree stump;
wedding: wedding chapel; light rail: light rail train; mountain cableway: cable car; automobile: red car;
sport utility vehicle: blue car; articulated lorry: lorry; manual wheelchair: wheelchair;
motorized wheelchair: electric wheelchair; vertical traffic light: traffic light; construction: road barrier;
hourglass done: hourglass; umbrella on ground: beach umbrella; high voltage: lightning bolt; water wave: wave;
tennis: tennis racket; bowling: bowling pins; cricket game: cricket bat; field hockey: field hockey stick;
ice hockey: ice hockey stick; lacrosse: lacrosse stick; ping pong: ping pong paddle; badminton: badminton racket;
flag in hole: golf flag; pool 8 ball: billiard ball; video game: game controller; pi\u00f1ata: pinata;
performing arts: theater masks; thread: spool of thread; yarn: ball of yarn; headphone: headphones;
woman\u2019s clothes: blouse; man\u2019s shoe: leather shoe; woman\u2019s sandal: sandal; woman\u2019s boot: boot;
woman\u2019s hat: sun hat; rescue worker\u2019s helmet: rescue helmet; one-piece swimsuit: swimsuit;
speaker high volume: speaker; magnifying glass tilted left: magnifying glass; closed book: red book;
closed mailbox with raised flag: mailbox; ballot box with ballot: ballot box; locked: padlock; pick: pickaxe;
soap: bar of soap; couch and lamp: couch; roll of paper: roll of toilet paper; bug: caterpillar;
lady beetle: ladybug; deciduous tree: leafy tree; identification card: identity card;
small airplane: propeller plane; peanuts: peanut
"""


@dataclass(frozen=True, slots=True)
class Emoji:
    """One line of emoji-test.txt, with the name the sheet gives it."""

    characters: str
    name: str
    group: str


def read_emoji(path: Path) -> Iterator[Emoji]:
    """Yields the fully qualified emoji of GROUPS under Unicode's names."""
    group = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group: "):
            group = line.removeprefix("# group: ").strip()
        match = re.match(r"(?P<codes>[0-9A-F ]+?) *; fully-qualified .* E\d+\.\d+ (?P<name>.+)", line)
        if match and group in GROUPS:
            yield Emoji("".join(chr(int(code, 16)) for code in match["codes"].split()), match["name"], group)


def choose(emoji: list[Emoji]) -> list[Emoji]:
    """Drops EXCLUDED and the clock faces, applies RENAMED, sorts by name.

    Raises:
        ValueError: a table names an emoji that Unicode does not, or two sprites get one name.
    """
    excluded = {name.strip() for name in EXCLUDED.replace("\n", " ").split(",")}
    pairs = (pair.split(":") for pair in RENAMED.replace("\n", " ").split(";"))
    renamed = {old.strip(): new.strip() for old, new in pairs}
    unknown = (excluded | renamed.keys()) - {one.name for one in emoji}
    if unknown:
        raise ValueError(f"not in {NAMES}: {', '.join(sorted(unknown))}")
    kept = [one for one in emoji if one.name not in excluded and not re.search("o\u2019clock$|-thirty$", one.name)]
    chosen = [Emoji(one.characters, renamed.get(one.name, plain_name(one.name)), one.group.lower()) for one in kept]
    names = [one.name for one in chosen]
    wrong = sorted({name for name in names if names.count(name) > 1 or not re.fullmatch(r"[a-z0-9 -]+", name)})
    if wrong:
        raise ValueError(f"names given twice, or not of plain letters: {', '.join(wrong)}")
    return sorted(chosen, key=lambda one: one.name)


def plain_name(name: str) -> str:
    """Returns the name in lower case; a head that stands for the animal loses its "face"."""
    return name.lower().removesuffix(" face")


def render(emoji: Emoji, font: ImageFont.FreeTypeFont) -> bytes:
    """Draws one emoji, cut to its ink and centred on a square, as lossless WebP of SPRITE_PX.

    Raises:
        ValueError: the font has no single glyph for it.
    """
    if round(font.getlength(emoji.characters)) != GLYPH_ADVANCE_PX:
        raise ValueError(f"the font does not draw {emoji.name!r} as one glyph (older font, or Pillow without Raqm)")
    glyph = Image.new("RGBA", (GLYPH_ADVANCE_PX, GLYPH_ADVANCE_PX))
    ImageDraw.Draw(glyph).text((0, 0), emoji.characters, font=font, embedded_color=True)
    is_ink = np.asarray(glyph.getchannel("A")) >= INK_ALPHA
    ink = glyph.crop(Image.fromarray(is_ink).getbbox())
    side = max(ink.size)
    square = Image.new("RGBA", (side, side))
    square.paste(ink, ((side - ink.width) // 2, (side - ink.height) // 2))
    sprite = square.resize((SPRITE_PX, SPRITE_PX), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    sprite.save(stream, format="WEBP", lossless=True, quality=100, method=6)
    return stream.getvalue()


def write_sheet(chosen: list[Emoji], font: ImageFont.FreeTypeFont, path: Path) -> None:
    """Writes the sheet: columns name, group, image{bytes, path}; whole or not at all."""
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "name": pa.array([one.name for one in chosen], pa.string()),
        "group": pa.array([one.group for one in chosen], pa.string()),
        "image": pa.array([{"bytes": render(one, font), "path": f"{one.name}.webp"} for one in chosen], image_type),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    pq.write_table(pa.table(columns), temporary, compression="none", use_dictionary=False, write_statistics=False)
    temporary.replace(path)


def main() -> None:
    """Renders the sheet from the system's font and Unicode data."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--font", type=Path, default=FONT)
    parser.add_argument("--names", type=Path, default=NAMES)
    parser.add_argument("--out", type=Path, default=SHEET)
    options = parser.parse_args()
    for path, package in ((options.font, "fonts-noto-color-emoji"), (options.names, "unicode-data")):
        if not path.exists():
            raise SystemExit(f"{path} is missing: apt-get install {package}")
    chosen = choose(list(read_emoji(options.names)))
    write_sheet(chosen, ImageFont.truetype(options.font, STRIKE_PX), options.out)
    print(f"{options.out}: {len(chosen)} sprites of {SPRITE_PX} px, {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
