"""Who lives in Thimble Valley, where, and with what. The hand-written texts know the same people and places."""

from __future__ import annotations

from inputs.tales.grammar import Forms, Person, Thing


def _person(name: str, kind: str, pronoun: str, home: str, food: str, hands: str, tags: str) -> Person:
    return Person(name, kind, pronoun, home, food, hands, frozenset(tags.split()))


# Tags: hero (may lead a story), little (has a mama who tucks them in), fly, swim, dig, strong, ground (cannot fly),
# night (is at home in the dark), wise (is asked for advice), child, animal.
PEOPLE = (
    _person("Pip", "mouse", "he", "in a blue teapot under the old oak tree", "cheese", "paws",
            "hero little ground small animal"),
    _person("Tilly", "rabbit", "she", "in a burrow on Windy Hill", "carrots", "paws", "hero little ground dig animal"),
    _person("Bruno", "bear", "he", "in a cave at the top of Windy Hill", "honey", "paws", "hero ground strong animal"),
    _person("Fern", "fox", "she", "in a den in Bramble Wood", "plums", "paws", "hero ground clever animal"),
    _person("Otto", "owl", "he", "at the top of the old oak tree", "tea", "wings", "fly night wise animal"),
    _person("Nell", "hen", "she", "in the red barn", "corn bread", "wings", "hero ground cook animal"),
    _person("Dabble", "duck", "he", "beside the duck pond", "soup", "wings", "hero swim animal"),
    _person("Hugo", "hedgehog", "he", "under a heap of leaves", "mushrooms", "paws", "hero little ground small animal"),
    _person("Moss", "mole", "he", "in a tunnel under Clover Field", "turnips", "paws", "hero ground dig night animal"),
    _person("Gus", "goat", "he", "in the shed by the gate", "thistles", "hooves",
            "hero ground strong animal"),
    _person("Kit", "wren", "she", "in a nest in the hedge", "crumbs", "wings", "hero little fly small animal"),
    _person("Granny Plum", "", "she", "at the end of Apple Lane", "plum pie", "hands", "ground wise cook mend"),
    _person("Mabel", "cow", "she", "in the meadow by the mill", "clover", "hooves", "ground strong animal"),
    _person("Rufus", "dog", "he", "beside the blue door", "bones", "paws", "hero ground strong dig animal"),
    _person("Minnie", "cat", "she", "in a basket by the stove", "cream", "paws", "hero ground night animal"),
    _person("Flick", "squirrel", "he", "in the middle of the old oak tree", "nuts", "paws",
            "hero little ground small animal"),
    _person("Posy", "lamb", "she", "in the low meadow", "clover", "hooves", "hero little ground animal"),
    _person("Finn", "frog", "he", "under the little bridge", "lily cakes", "hands", "hero little ground swim animal"),
    _person("Olive", "otter", "she", "on the bank of Pebble Brook", "berries", "paws", "hero ground swim animal"),
    _person("Percy", "pig", "he", "behind the red barn", "apples", "feet", "hero little ground animal"),
    _person("Ruby", "robin", "she", "in the holly bush", "crumbs", "wings", "hero little fly small animal"),
    _person("Jack", "crow", "he", "in the tall pine by the mill", "toast", "wings", "hero fly animal"),
    _person("Bella", "badger", "she", "in a warm house under Bramble Wood", "toast", "paws",
            "ground strong dig night wise animal"),
    _person("Anna", "girl", "she", "in the house with the blue door", "jam", "hands", "hero little ground child"),
    _person("Tom", "boy", "he", "in the house with the blue door", "pancakes", "hands", "hero little ground child"),
    _person("Lucy", "girl", "she", "in the house by the mill", "apple cake", "hands", "hero little ground child"),
    _person("Ben", "boy", "he", "in the last house on the lane", "warm rolls", "hands", "hero little ground child"),
)


def _things(*rows: str) -> tuple[Thing, ...]:
    """Each row is a noun and its adjectives: one thing for each pair."""
    pairs = [row.split(": ") for row in rows]
    return tuple(Thing(noun, adjective) for noun, adjectives in pairs for adjective in adjectives.split(", "))


# Things that fit in a pocket, or can be lost in one.
SMALL = _things(
    "button: blue, shiny, brass, wooden",
    "key: silver, little, old, rusty",
    "bell: tiny, silver, brass",
    "marble: green, glass, golden",
    "ring: thin, silver, tin",
    "thimble: silver, tiny",
    "whistle: tin, wooden, red",
    "spoon: silver, little, wooden",
    "ribbon: yellow, red, silk, orange",
    "shell: pink, white, curly",
    "feather: blue, long, white",
    "mitten: red, woolly, green",
)

# Things to play with, big enough to be caught in a tree.
TOYS = _things(
    "kite: red, paper, yellow, orange",
    "ball: striped, blue, red, old",
    "scarf: long, yellow, woolly",
    "hat: straw, green, new, old",
    "balloon: red, blue, orange",
    "handkerchief: spotted, white",
)

# Things that can be broken and mended.
BREAKABLE = _things(
    "cup: blue, painted, little",
    "jug: brown, old, yellow",
    "lantern: paper, tin, green",
    "drum: tin, red, old",
    "cart: wooden, little, red",
    "boat: toy, wooden, painted",
    "plate: blue, painted",
    "flower pot: clay, round",
    "teapot: white, little",
    "music box: small, silver",
)

# Food that can be cut or counted out in two.
SHARED = _things(
    "pie: plum, apple, warm",
    "cake: honey, apple, oat, seed",
    "bun: sticky, warm, sugar",
    "pear: yellow, ripe",
    "apple: red, round",
    "pancake: golden, big",
    "loaf: crusty, warm",
    "orange: sweet, big",
)

FLOWERS = ("sunflower", "poppy", "daisy", "bluebell", "rose", "tulip", "marigold", "iris")


def _places(*rows: tuple[str, str, str]) -> tuple[Forms, ...]:
    return tuple(Forms({"name": name, "at": at, "to": to}) for name, at, to in rows)


PLACES = _places(
    ("the duck pond", "by the duck pond", "to the duck pond"),
    ("Clover Field", "in Clover Field", "to Clover Field"),
    ("Bramble Wood", "in Bramble Wood", "to Bramble Wood"),
    ("Windy Hill", "on Windy Hill", "up Windy Hill"),
    ("Apple Lane", "on Apple Lane", "along Apple Lane"),
    ("the old mill", "behind the old mill", "to the old mill"),
    ("Pebble Brook", "beside Pebble Brook", "down to Pebble Brook"),
    ("the red barn", "behind the red barn", "to the red barn"),
    ("the little bridge", "on the little bridge", "to the little bridge"),
    ("the low meadow", "in the low meadow", "to the low meadow"),
    ("the orchard", "in the orchard", "to the orchard"),
    ("the stone wall", "along the stone wall", "to the stone wall"),
)

# Where a small thing turns up: somewhere silly, and always close to home.
SPOTS = (
    "in the toe of {hero.his} own boot",
    "inside {hero.his} hat, which was on {hero.his} own head",
    "at the bottom of the biscuit tin",
    "under the sleeping cat",
    "in {friend}'s basket, under the apples",
    "in the pocket of {hero.his} other coat",
    "in a nest, between two eggs",
    "in the teapot, under the lid",
    "stuck to the bottom of {friend}'s foot",
    "under the pillow, where it had been all along",
    "in the middle of a lettuce",
    "in the pocket of the scarecrow",
    "behind the clock",
    "on the back of a very slow snail",
    "in the watering can",
)

# Something that somebody would come to make.
MAKES = (
    Forms({"name": "boat", "a": "a boat", "use": "sail", "one": "an old wooden box", "two": "a long straight stick",
           "three": "a clean sheet", "done": "It rocked on the water like a cradle", "where": "on the pond"}),
    Forms({"name": "kite", "a": "a kite", "use": "fly", "one": "two thin sticks", "two": "a sheet of brown paper",
           "three": "a ball of string", "done": "It went up and up, until it was as small as a leaf",
           "where": "on the hill"}),
    Forms({"name": "swing", "a": "a swing", "use": "swing", "one": "a flat board", "two": "a long rope",
           "three": "a strong knot", "done": "It went up to the leaves and back down to the daisies",
           "where": "under the oak"}),
    Forms({"name": "scarecrow", "a": "a scarecrow", "use": "stand", "one": "an armful of straw",
           "two": "a ragged coat", "three": "a turnip for the head",
           "done": "It looked so friendly that two birds sat down on its arm", "where": "in the field"}),
    Forms({"name": "soup", "a": "a pot of soup", "use": "eat", "one": "three fat carrots", "two": "a round white onion",
           "three": "a pinch of salt", "done": "It smelled so good that even the fire leaned closer",
           "where": "over the fire"}),
    Forms({"name": "lantern", "a": "a lantern", "use": "shine", "one": "an empty jar", "two": "a bit of wire",
           "three": "the end of a candle", "done": "It made a ring of gold on the grass", "where": "by the gate"}),
    Forms({"name": "drum", "a": "a drum", "use": "play", "one": "an empty tin", "two": "a piece of cloth",
           "three": "a strong band", "done": "It went rum, tum, tum, and nobody's feet could keep still",
           "where": "on the green"}),
    Forms({"name": "house", "a": "a little house", "use": "stand", "one": "a heap of smooth stones",
           "two": "a bundle of sticks", "three": "a good thick mat of moss",
           "done": "It had one room and one window, and it leaned a little to the left", "where": "under the hedge"}),
    Forms({"name": "quilt", "a": "a quilt", "use": "sleep under", "one": "a square of red cloth",
           "two": "a square of blue cloth", "three": "a long white thread",
           "done": "It was as warm as toast and as bright as a garden", "where": "on the bed"}),
)

# Something that takes practice. `tags` in the stories keep a duck from learning to swim.
SKILLS = (
    Forms({"name": "whistle", "ing": "whistling", "first": "Nothing came out but a little wet air.",
           "second": "It sounded like a kettle with a cold.", "done": "a clear, high note flew out and over the hedge",
           "tip": "Do not blow so hard. Blow as if you were cooling soup."}),
    Forms({"name": "skip", "ing": "skipping", "first": "{Hero.his} feet got in each other's way.",
           "second": "The rope went around {hero.his} ears.", "done": "the rope went over once, twice, three times",
           "tip": "Do not look at the rope. Listen to it, and jump when it says tick."}),
    Forms({"name": "walk on stilts", "ing": "walking on stilts", "first": "One stilt went east and one stilt went "
    "west.",
           "second": "{Hero.he} sat down so hard that the daisies shook.",
           "done": "{hero.he} was walking along, with {hero.his} head up among the apples",
           "tip": "Do not look at your feet. Look at where you want to go."}),
    Forms({"name": "juggle", "ing": "juggling", "first": "The first apple landed in the pond.",
           "second": "The second apple landed on a cow.", "done": "two apples went around in the air, and then three",
           "tip": "Throw them as if you had all day."}),
    Forms({"name": "dance", "ing": "dancing", "first": "{Hero.he} went left when the music went right.",
           "second": "{Hero.he} stepped on a bee, and the bee had something to say about it.",
           "done": "{hero.his} feet knew where to go, all by themselves",
           "tip": "Hum the tune first. Your feet will want to come too."}),
    Forms({"name": "stand on {hero.his} head", "ing": "standing on {hero.his} head",
           "first": "{Hero.he} fell over like a plank.", "second": "{Hero.he} fell over the other way.",
           "done": "{hero.he} was upside down, and the whole valley hung above {hero.him} like a picture",
           "tip": "Go slowly, and think of yourself as a tree."}),
    Forms({"name": "tie a bow", "ing": "tying a bow", "first": "It was a knot.",
           "second": "It was a knot with {hero.his} own foot in it.",
           "done": "there were two loops, one on each side, just like the wings of a moth",
           "tip": "Make one ear, and let the other ear run around it."}),
    Forms({"name": "read", "ing": "reading", "first": "The letters stood there like a row of ants.",
           "second": "One word came out as cat, but it was a cart.",
           "done": "the letters held hands and said a word, and the next word, and the next",
           "tip": "Do not try to eat the whole page. Take one small bite."}),
)
