"""Lines for small rhymes. A family is lines that end on the same sound; a couplet is two lines of one family.

Each line ends on a different word of its family, so that no word is ever rhymed with itself.
"""

from __future__ import annotations

# theme -> titles
TITLES = {
    "night": ("Night Song", "Stars", "When the Lamp Is Out", "Sleepy Rhyme", "The Valley at Night", "Moon Rhyme"),
    "morning": ("Morning Song", "Up and Out", "A New Day", "Wake Up", "Sun Rhyme", "Early"),
    "rain": ("Wet Rhyme", "Puddle Song", "Drops", "The Rain Comes", "A Gray Day", "Under the Leaf"),
    "garden": ("Garden Song", "Green Rhyme", "What Grows", "In the Grass", "Summer Rhyme", "By the Wall"),
    "winter": ("Winter Song", "White", "By the Fire", "Cold Feet", "Snow Rhyme", "The Long Night"),
}

# theme -> families of lines that rhyme
LINES = {
    "night": (
        (
            "The moon is hanging white and round,",
            "The brook goes by with a sleepy sound,",
            "The dew lies cool upon the ground,",
            "The little star I lost is found,",
        ),
        (
            "The owl is up, the hen is in bed,",
            "The hedgehog pulls the leaves over his head,",
            "\"Good night,\" is what the old clock said,",
            "The sky behind the hill was red,",
        ),
        (
            "The mouse has blown out his tiny light,",
            "The door is shut and the blanket is tight,",
            "The snail has gone in for the night,",
            "The stars come out, all small and bright,",
        ),
        (
            "The well is dark, and the well is deep,",
            "The lamb lies down with the other sheep,",
            "The very last frog has gone to sleep,",
            "Over the floor the shadows creep,",
        ),
        (
            "The mill is quiet on the hill,",
            "The wind lies down, and the trees are still,",
            "A moth sits on the windowsill,",
            "Who will be sleeping first? I will,",
        ),
        (
            "The old cat hums a sleepy tune,",
            "The pond has caught a piece of moon,",
            "My spoon lies down by the other spoon,",
            "The morning will be coming soon,",
        ),
    ),
    "morning": (
        (
            "The cock is up to greet the sun,",
            "The night is over, the dark is done,",
            "Out of the barn the piglets run,",
            "A good new day for everyone,",
        ),
        (
            "The sky is turning gold and blue,",
            "The grass is shining, wet with dew,",
            "The day is here, and the day is new,",
            "There is warm bread for me and you,",
        ),
        (
            "The wren is singing in the tree,",
            "There is honey here, and a pot of tea,",
            "The sun is looking in at me,",
            "Out of the clover comes a bee,",
        ),
        (
            "The lark goes up into the sky,",
            "A small white cloud is sailing by,",
            "The sheets are on the line to dry,",
            "\"Get up,\" says the cat. I ask her, \"Why?\"",
        ),
        (
            "The cows go slowly down the lane,",
            "There is a sunbeam on the pane,",
            "The hens are picking up the grain,",
            "And now the day begins again,",
        ),
        (
            "The cat has washed her little nose,",
            "The sun is tickling all my toes,",
            "A bee has found the early rose,",
            "Over the wall the warm wind blows,",
        ),
    ),
    "rain": (
        (
            "The rain is tapping at the door,",
            "A drop, and then a hundred more,",
            "My boots make puddles on the floor,",
            "I never heard such rain before,",
        ),
        (
            "The gutter runs, the bucket fills,",
            "The clouds are sitting on the hills,",
            "The pond is full, and over it spills,",
            "The ducks are laughing with their bills,",
        ),
        (
            "The mouse is under a mushroom top,",
            "The drops on the tin roof go plip and plop,",
            "The frogs come out to skip and hop,",
            "Nobody knows when it will stop,",
        ),
        (
            "The road is wet, and the wind is wide,",
            "The snail comes out, and the cat goes inside,",
            "The bees have all gone in to hide,",
            "A leaf in the gutter is taking a ride,",
        ),
        (
            "I have a coat, and I have a hat,",
            "The daisies have been beaten flat,",
            "Under the cart there sits the cat,",
            "Drip, drip, drip, and that is that,",
        ),
        (
            "The brook is up to the bridge today,",
            "The goat has gone in to eat the hay,",
            "The sky is seven kinds of gray,",
            "Come in, come in, and we will play,",
        ),
    ),
    "garden": (
        (
            "A ladybird walks along the wall,",
            "The beans are climbing, green and tall,",
            "The apples wait until they fall,",
            "I like the radish best of all,",
        ),
        (
            "The mole is digging in his hole,",
            "I picked the peas into a bowl,",
            "The robin sits on the washing pole,",
            "The cabbage is round, and the cabbage is whole,",
        ),
        (
            "The snail is slow upon the stone,",
            "The rose is standing all alone,",
            "The dog is looking for his bone,",
            "How big the sunflower has grown,",
        ),
        (
            "A spider made a silver thread,",
            "The berries here are turning red,",
            "The carrots sleep in an earthen bed,",
            "A bee goes humming over my head,",
        ),
        (
            "The swing goes up, the swing goes down,",
            "The daisy wears a yellow crown,",
            "The butterfly has a spotted gown,",
            "The pear was green, and now it is brown,",
        ),
        (
            "Under the hedge there is a nest,",
            "The wren has smoothed her feather vest,",
            "The sun goes slowly to the west,",
            "The old gray spade has a day of rest,",
        ),
    ),
    "winter": (
        (
            "The pond is white from end to end,",
            "The snowman is our quiet friend,",
            "I have a mitten here to mend,",
            "Under the snow the branches bend,",
        ),
        (
            "My breath goes up like a puff of smoke,",
            "The wind comes knocking for a joke,",
            "There are three small owls in the hollow oak,",
            "The hill has put on a big white cloak,",
        ),
        (
            "The kettle sings its kettle song,",
            "The days are short, and the nights are long,",
            "The bear has slept since the clock said dong,",
            "Come to the fire, where you belong,",
        ),
        (
            "The snow is falling soft and slow,",
            "The stars are hanging very low,",
            "My nose is red, and I think they know,",
            "Somewhere below, the roots still grow,",
        ),
        (
            "The robin sits on the garden gate,",
            "There is hot soup upon my plate,",
            "The sun gets up so very late,",
            "The seeds lie under the ground and wait,",
        ),
        (
            "Put on your boots, put on your coat,",
            "There is ice all around the little boat,",
            "A warm red scarf goes around my throat,",
            "There is straw in the shed for the hungry goat,",
        ),
    ),
}

# Somebody, and what they want, which rhymes: for the silly ones.
PAIRS = (
    ("mouse", "house"), ("fox", "box"), ("goat", "boat"), ("sheep", "heap"), ("frog", "log"), ("bug", "jug"),
    ("mole", "bowl"), ("snake", "lake"), ("moth", "cloth"), ("toad", "road"), ("pup", "cup"), ("ant", "plant"),
    ("kitten", "mitten"), ("hare", "pear"), ("parrot", "carrot"), ("king", "swing"), ("bat", "mat"), ("clown", "gown"),
    ("goose", "spruce"), ("swan", "lawn"), ("trout", "spout"), ("rook", "book"), ("lark", "park"), ("newt", "flute"),
)

# The last pair of a silly rhyme, with the line that ends it.
LAST_PAIRS = (
    ("bee", "tree", "And all of them came home with me."),
    ("snail", "pail", "And that is the end of the tale."),
    ("crow", "bow", "And that is all I need to know."),
    ("bear", "chair", "And none of them has brushed his hair."),
    ("hen", "pen", "And now we start from the top again."),
    ("duck", "truck", "And all of them have had good luck."),
    ("pig", "wig", "And some are small, and some are big."),
    ("fly", "pie", "And now they all must say goodbye."),
    ("cat", "hat", "And what do you think of that?"),
    ("owl", "towel", "And none of them knew how to growl."),
)

SILLY_TITLES = ("Silly Rhyme", "What They Want", "A Rhyme for Hopping", "Who Is Who", "Nonsense", "A Rhyme to Skip To")

SILLY_LINES = (
    "I saw {one} beside {two},",
    "Here comes {one} to look for {two},",
    "{One} has gone to buy {two},",
    "There once was {one} who had {two},",
    "What is {one} without {two}?",
)
