"""Story shapes about home, things and friends: lost and found, sharing, mending, making, birthdays, guests."""

from __future__ import annotations

from inputs.tales.grammar import Forms, Maybe, Pick, Shape
from inputs.tales.words import BREAKABLE, MAKES, PLACES, SHARED, SMALL, SPOTS, TOYS

LOST = Shape(
    "lost and found",
    cast={"hero": "hero", "friend": "hero", "other": "animal"},
    props={"thing": SMALL, "place": PLACES, "spot": SPOTS},
    titles=("The lost {thing.noun}", "{Hero} looks for a {thing.noun}", "Where is the {thing.noun}?",
            "{Hero} and the {thing}"),
    beats=(
        (
            "{Hero.full} had {thing.a}, and {hero.he} loved it more than anything.",
            "{Hero.full} lived {hero.home}. {Hero.he} did not have many things, but {hero.he} did have {thing.a}.",
            "Nobody knew where {hero.full} had got the {thing}. {Hero.he} took it everywhere, even to bed.",
            "There was once {thing.a}, and it belonged to {hero.full}.",
            "Granny Plum once gave {thing.a} to {hero.full}. \"It is small,\" she said, \"so hold it tight.\"",
        ),
        (
            "One morning {hero.he} put out a sleepy [hand|foot] to touch it, and it was gone.",
            "Then, one windy day, {hero.he} reached for it, and it was not there.",
            "But on Tuesday, after breakfast, {hero.he} looked for the {thing.noun} and could not find it.",
            "One evening {hero} came home from {place}, and the {thing.noun} did not come home with {hero.him}.",
        ),
        (
            "\"Oh no!\" said {hero}. {Hero.he} looked under the bed. There was [dust|a sock|a spider], and that was "
            "all.",
            "{Hero} looked high and low. {Hero.he} found a crumb, a cork and an old brown leaf. "
            "{Hero.he} did not find the {thing.noun}.",
            "{Hero} turned everything upside down. Then {hero.he} turned it all back again. There was no {thing.noun}.",
            "\"It must be here,\" said {hero}, and {hero.he} looked. \"It must be there,\" said {hero}, "
            "and {hero.he} looked there, too.",
        ),
        (
            "{Hero.he} went {place.to} and met {other}. \"Have you seen {thing.a}?\" asked {hero}. "
            "\"No,\" said {other}, \"but I have seen a cloud like a [shoe|whale|teapot].\"",
            "{Other.full} was {place.at}. \"I have lost my {thing.noun},\" {hero} told {other.him}. "
            "\"I lost my temper once,\" said {other}. \"It came back by lunch.\"",
            "\"What is the matter?\" asked {other}, who was {place.at}. When {other.he} heard, "
            "{other.he} helped to look, but the {thing.noun} was not there.",
            "{Hero} ran {place.to}, because {hero.he} had been there the day before. "
            "{Other} was there. The {thing.noun} was not.",
        ),
        (
            "Then {friend} came along. \"Let us be slow about it,\" said {friend}. \"Tell me what you did today, "
            "from the beginning.\"",
            "{Hero} sat down and cried a little, and that was how {friend} found {hero.him}. "
            "\"Two can look better than one,\" said {friend}.",
            "\"I will help you,\" said {friend.full}. \"I am good at looking. I look at things all day long.\"",
            "{Friend} heard all about it. \"When I lose something,\" {friend.he} said, "
            "\"I stop and think like the thing. If you were {thing.an}, where would you go?\"",
        ),
        Maybe((
            "So they went back the way that {hero} had come, step by step, with their noses to the ground.",
            "They asked the gate. They asked the grass. The gate squeaked and the grass whispered, "
            "but neither of them would say.",
            "{Hero} thought so hard that {hero.his} ears went warm.",
        )),
        (
            "And there it was, {spot}!",
            "\"Look!\" cried {friend}. And there was the {thing.noun}, {spot}.",
            "It was {friend} who saw it first. It was {spot}.",
            "They found it just before dark. Where was it? It was {spot}.",
        ),
        (
            "{Hero} laughed until {hero.he} had to sit down. \"So that is where I put it,\" {hero.he} said.",
            "\"You silly {thing.noun},\" said {hero}, and {hero.he} kissed it.",
            "\"It was not lost at all,\" said {friend}. \"It was only waiting.\"",
            "\"I am so happy that I could dance,\" said {hero}. So they did, the two of them, all the way home.",
        ),
        (
            "That night {hero} held the {thing} tight, and it was warm by the time {hero.he} fell asleep.",
            "{Hero} tied the {thing.noun} to a bit of string, and the string to {hero.his} coat, and it was never "
            "lost again, "
            "except for twice.",
            "And {hero} let {friend} keep the {thing} until Sunday, because finding a thing makes it a little bit "
            "yours.",
            "After that, whenever somebody lost something, they came to {hero}, who knew how to look slowly.",
            "\"Good night, {thing.noun},\" said {hero}. \"Stay where you are.\" And it did.",
        ),
    ),
)

WHOSE = Shape(
    "found, and whose is it",
    cast={"hero": "hero", "first": "animal", "second": "animal", "friend": "hero"},
    props={"thing": SMALL, "place": PLACES},
    titles=("Whose {thing.noun} is this?", "{Hero} finds a {thing.noun}", "The {thing} in the grass"),
    beats=(
        (
            "{Hero.full} went for a walk {place.to}. There, in the grass, something shone. It was {thing.a}.",
            "One day, when {hero} was {place.at}, {hero.he} stepped on something hard. It was {thing.a}.",
            "The rain had washed the path clean, and {place.at} {hero.full} found {thing.a}.",
        ),
        (
            "\"How pretty it is!\" said {hero}. {Hero.he} wanted to keep it. But {hero.he} thought that "
            "somebody, somewhere, was looking for it.",
            "{Hero} put it in {hero.his} pocket. It felt heavy there, as things do when they are not yours.",
            "\"Finders keepers,\" said {hero}. {Hero.he} said it twice. The second time, it did not sound right.",
        ),
        (
            "{Hero.he} went to {first}. \"Is this your {thing.noun}?\" {hero.he} asked. "
            "\"I wish it were,\" said {first}, \"but mine is much uglier.\"",
            "{Hero.he} asked {first.full} first. \"What would I do with {thing.an}?\" said {first}. \"I would only "
            "sit on it.\"",
            "\"Is it yours?\" {hero.he} asked {first}. {First} looked at it from the top and from the bottom. "
            "\"No,\" said {first}. \"But thank you for asking.\"",
        ),
        (
            "Then {hero.he} asked {second}. {Second} smelled it. \"It smells of [smoke|soap|mint|bread],\" said "
            "{second}. "
            "\"I do not smell of that, do I?\"",
            "{Second.full} was next. \"It is not mine,\" said {second}, \"but I saw {friend} "
            "walking very slowly and looking at the ground.\"",
            "{Second} shook {second.his} head. \"Ask somebody who looks sad,\" {second.he} said. And that was good "
            "advice.",
        ),
        (
            "At the end of the day {hero} came upon {friend}, who was sitting on a stone with a long face.",
            "And there was {friend}, under a bush, looking for something with both eyes.",
            "Behind the hedge {hero} heard somebody sigh. It was {friend}, and it was a very deep sigh.",
        ),
        (
            "\"Have you lost something?\" asked {hero}. \"Only {thing.a},\" said {friend}. \"It was my "
            "grandmother's.\"",
            "\"I cannot come and play,\" said {friend}. \"I have lost my {thing}, and I will look until I find it.\"",
            "{Hero} did not say anything. {Hero.he} only opened {hero.his} pocket, and {friend}'s eyes grew round.",
        ),
        (
            "Then {hero} gave it back. It was hard for one moment, and after that it was easy.",
            "\"Here it is,\" said {hero}. {Friend} was so happy that {friend.he} could not speak.",
            "\"Shut your eyes and hold out your {friend.hands},\" said {hero}. And when {friend} looked, there it was.",
        ),
        (
            "{Hero}'s pocket was empty all the way home, but {hero} did not feel empty at all.",
            "\"You can look at it whenever you like,\" said {friend}. So {hero} had a friend and half of {thing.an}.",
            "The next morning there was [a cake|a jar of jam|a bunch of daisies] at the door. "
            "The note said: To {hero}, who asked.",
            "\"Finders keepers is a bad rule,\" said {hero} to {hero.his} mama that night. \"Finders askers is "
            "better.\"",
        ),
    ),
)

SHARING = Shape(
    "sharing",
    cast={"hero": "hero", "friend": "hero", "other": "hero"},
    props={"thing": SHARED, "place": PLACES},
    titles=("Half of the {thing.noun}", "{Hero} and the {thing}", "One {thing.noun} for two",
            "A {thing.noun} too many"),
    beats=(
        (
            "{Hero.full} had {thing.a}, and it was all {hero.his} own.",
            "Once, for being good, {hero.full} was given {thing.a}.",
            "{Hero} had waited all week for this. In front of {hero.him}, on a plate, there was {thing.a}.",
            "It was {thing.a}, and it smelled like a holiday. {Hero.full} carried it {place.to} to eat it there.",
        ),
        (
            "\"I will sit where nobody can see me,\" thought {hero}, \"and eat it all up.\"",
            "{Hero.he} looked to the left, and {hero.he} looked to the right. Good. There was nobody.",
            "{Hero.he} opened {hero.his} mouth as wide as it would go.",
            "{Hero.he} found a quiet spot in the sun, and {hero.he} was just about to begin.",
        ),
        (
            "Just then {friend} came by. {Friend.he} did not ask for any. {Friend.he} only looked, and {friend.his} "
            "tummy rumbled.",
            "\"Hello,\" said somebody. It was {friend}. \"That is a lovely {thing.noun},\" said {friend}. "
            "\"I had no breakfast today.\"",
            "Then {hero.he} heard a sniff. {Friend.full} was sitting close by, looking very hard at {friend.his} own "
            "feet.",
            "But {friend} was there already. \"I was just going,\" said {friend}, and {friend.he} looked at the "
            "{thing.noun}.",
        ),
        (
            "\"It is only a small {thing.noun},\" said {hero}, and {hero.he} hid it behind {hero.his} back.",
            "{Hero} turned around, so that {hero.he} could not see {friend}. But {hero.he} knew that {friend.he} was "
            "there.",
            "{Hero} took one bite. It ought to have been good. It tasted of [nothing at all|paper|a cold, gray "
            "morning].",
            "\"There is not enough for two,\" thought {hero}. \"There is just enough for me.\"",
        ),
        Maybe((
            "{Friend} got up to go. {Friend.he} was not cross. That made it worse.",
            "A cloud went over the sun, and then it went away again. Nobody said a word.",
            "It is hard to eat when somebody near you is hungry. The {thing.noun} gets bigger and bigger in your "
            "mouth.",
        )),
        (
            "{Hero} remembered the winter, when {friend} had given {hero.him} half of everything.",
            "{Hero} thought about it. Then {hero.he} took the {thing.noun} and broke it down the middle.",
            "\"Wait!\" said {hero}. \"I counted wrong. There is enough for two, if I cut it.\"",
            "\"{Friend},\" said {hero}, \"would you like some? It is too good to eat without somebody to say so.\"",
        ),
        (
            "So they sat side by side and ate it, and {friend} got the bigger half.",
            "{Hero.he} gave one half to {friend} and kept the other, and they both chewed for a long time.",
            "They ate it down to the last crumb, and the last crumb they gave to an ant.",
            "Then {other} came along too, and they cut it again, and it was still enough.",
        ),
        (
            "\"It is odd,\" said {hero}. \"It is a smaller {thing.noun}, but it tastes bigger.\"",
            "\"That was the best half of {thing.an} that I ever had,\" said {hero}, and {hero.he} meant it.",
            "The next day {friend} found some {friend.food}, and the first thing {friend.he} did was to run and find "
            "{hero}.",
            "{Hero} was not quite full. But {hero.he} was happy, and that goes into the gaps.",
            "And if you ever go {place.to}, you may see {hero} there, with something nice, looking for somebody to "
            "share it with.",
        ),
    ),
)

MISTAKE = Shape(
    "a mistake and an apology",
    cast={"hero": "hero", "friend": "hero", "helper": "wise"},
    props={"thing": BREAKABLE},
    titles=("{Hero} says sorry", "The broken {thing.noun}", "{Friend}'s {thing}", "Crack!"),
    beats=(
        (
            "{Friend.full} had {thing.a}. \"You may look at it,\" {friend.he} told {hero}, \"but please be careful.\"",
            "{Hero.full} was playing at {friend}'s house. On the shelf there was {thing.a}.",
            "Of all the things in {friend}'s house, {hero.full} liked the {thing} best.",
            "{Friend} was going out. \"Will you look after my {thing} for me?\" {friend.he} asked {hero.full}.",
        ),
        (
            "{Hero} only wanted to hold it. But it was heavier than it looked, and it slipped. Crack!",
            "{Hero} spun around to show how a [leaf|top|dancer] spins, and {hero.his} elbow hit the {thing.noun}. "
            "Down it went.",
            "{Hero} ran through the door too fast. There was a bump, and then a crash, and then it was very quiet.",
            "{Hero.he} gave it a little push, just to see. It fell on the floor and came apart.",
        ),
        (
            "{Hero.he} looked at the pieces. There were [three|four|five] of them. \"Oh dear,\" {hero.he} whispered.",
            "{Hero.his} heart went thump. {Hero.he} pushed the pieces under the rug, and the rug had a hill in it.",
            "There was nobody there. Nobody had seen. {Hero} ran home and shut the door.",
            "\"Perhaps a [mouse|bird|gust of wind] did it,\" {hero.he} thought. But {hero.he} knew who had done it.",
        ),
        (
            "All that day {hero} could not play, and at supper {hero.he} could not eat, "
            "not even {hero.food}.",
            "There was a stone in {hero.his} tummy. It was not a real stone, but it was just as heavy.",
            "When {friend} waved to {hero.him} from the lane, {hero} hid behind a tree.",
            "In bed {hero} could not sleep. Whenever {hero.he} shut {hero.his} eyes, {hero.he} heard it go crack.",
        ),
        (
            "In the end {hero.he} told {helper}. \"What should I do?\" {hero.he} asked. "
            "\"You know what,\" said {helper}, \"or you would not have come.\"",
            "\"Something is the matter,\" said {helper.full}. So {hero} told {helper.him} everything. "
            "\"Broken things can be mended,\" said {helper}. \"But first they must be shown.\"",
            "{Helper} saw {hero.his} sad face. \"Sorry is a small word,\" {helper.he} said, \"but it opens a very "
            "big door.\"",
        ),
        (
            "So {hero} went to {friend}, and {hero.his} feet felt like lead. \"I broke your {thing.noun},\" "
            "{hero.he} said. "
            "\"I am sorry.\"",
            "{Hero} knocked on {friend}'s door. \"It was me,\" {hero.he} said, all in one breath. \"I am so very "
            "sorry.\"",
            "\"{Friend},\" said {hero}, \"I did a bad thing, and then I hid it, and that was two bad things. I am "
            "sorry.\"",
        ),
        (
            "{Friend} was quiet. \"I am sad about the {thing.noun},\" {friend.he} said. \"But I am glad that you "
            "told me.\"",
            "\"I knew,\" said {friend}. \"I was not waiting for the {thing.noun}. I was waiting for you.\"",
            "{Friend} was cross for as long as it takes to drink a cup of milk. Then {friend.he} gave {hero} a hug.",
        ),
        (
            "They got the glue and a brush, and they put the {thing.noun} together again, piece by piece.",
            "{Hero} mended it with {helper}'s good glue. It took all afternoon, and it was a little crooked.",
            "It could not be the same as before. But they mended it and painted [a star|a leaf|a daisy] over the "
            "crack.",
        ),
        (
            "The stone in {hero}'s tummy was gone. {Hero.he} had two suppers.",
            "\"I like it better now,\" said {friend}. \"It has a story in it.\" And {hero} smiled for the first time "
            "that day.",
            "After that {hero} was careful with other people's things, and when {hero.he} was not, {hero.he} said so "
            "at once.",
            "That night {hero} slept from one end of the dark to the other.",
        ),
    ),
)

MAKING = Shape(
    "making something",
    cast={"hero": "hero", "first": "animal", "second": "hero", "third": "animal", "doubter": "animal"},
    props={"make": MAKES, "place": PLACES},
    titles=("{Hero} makes {make.a}", "How to make {make.a}", "The best {make} in the valley", "Bit by bit"),
    beats=(
        (
            "{Hero.full} woke up with an idea. \"Today,\" {hero.he} said, \"I will make {make.a}.\"",
            "\"I wish I had {make.a},\" said {hero.full}. There was nobody to give {hero.him} one, so {hero.he} "
            "thought that {hero.he} would make it.",
            "It was a day for making things. {Hero.full} rolled up {hero.his} sleeves. \"I will make {make.a},\" "
            "{hero.he} said.",
        ),
        (
            "\"You cannot make {make.a},\" said {doubter}. \"You do not know how.\" "
            "\"I will know when I have done it,\" said {hero}.",
            "\"What do you have?\" asked {doubter}. {Hero} looked in {hero.his} pockets. "
            "\"I have the idea,\" {hero.he} said.",
            "But {hero.he} had nothing to make it with. So {hero.he} took a basket and went out to ask.",
            "For {make.a} you need three things, and {hero} did not have even one of them.",
        ),
        (
            "First {hero.he} went to {first}, who gave {hero.him} {make.one}. \"I was keeping it for something,\" "
            "said {first}, \"and this must be it.\"",
            "{First.full} had {make.one}. \"Take it,\" said {first}, \"but let me see it when it is done.\"",
            "{Place.at} {hero.he} met {first}, and {first} happened to have {make.one}.",
        ),
        (
            "Next {hero.he} needed {make.two}. {Second} had just the thing. \"May I come and help?\" asked {second}.",
            "\"Could you use {make.two}?\" said {second}. \"I could!\" said {hero}, and into the basket it went.",
            "{Second.full} was hard at work. When {second.he} heard about the {make}, {second.he} "
            "gave {hero} {make.two}, and came along to see.",
        ),
        (
            "Last of all, {third} brought {make.three}. \"It is not much,\" said {third}. \"It is the very thing,\" "
            "said {hero}.",
            "Now only one thing was missing. {Hero} looked everywhere for it. "
            "And there stood {third} with {make.three}. \"I heard you,\" {third.he} said.",
            "\"And {make.three}?\" said {hero}. \"Who has that?\" \"I do,\" said {third.full}, who had been listening.",
        ),
        (
            "Then {hero} set to work. {Hero.he} worked until the sun was low and {hero.his} tongue stuck out.",
            "They all worked together. {First} held it, {second} pushed it, and {hero} said, \"Left a bit. No, the "
            "other left.\"",
            "The first try fell down. The second try fell down more slowly. The third try did not fall down at all.",
            "It took the whole day, and once it went so wrong that {hero} had to go for a walk. But then {hero.he} "
            "came back.",
        ),
        (
            "And there it was, {make.where}. {Make.done}.",
            "\"It is done!\" said {hero}. {Make.done}.",
            "Everybody came to look. {Make.done}.",
        ),
        (
            "\"So you did know how,\" said {doubter}. \"I do now,\" said {hero}.",
            "\"Whose {make} is it?\" asked {doubter}. {Hero} looked at {first} and {second} and {third}. \"Ours,\" "
            "{hero.he} said.",
            "It was not a perfect {make}. But {hero} had made it with {hero.his} friends, and so nobody looked for "
            "cracks.",
            "\"What will you make tomorrow?\" asked {second}. \"Breakfast,\" said {hero}, and {hero.he} fell asleep "
            "on the spot.",
            "{Hero} went to bed tired and proud. Even in {hero.his} dreams, {hero.he} was making things.",
        ),
    ),
)

# What a friend says so as not to give the surprise away, and how it is told afterward.
SECRETS = (
    Forms({
        "friend": "{Hero.he} went outside and stood where everybody could see {hero.him}. "
        "\"Good morning,\" said {friend}. \"What a lot of clouds!\" And {friend.he} hurried away.",
        "told": "\"There was not one cloud this morning,\" said {hero}. \"I know,\" said {friend}. "
        "\"I looked up so that I would not look at you and tell.\"",
    }),
    Forms({
        "friend": "{Hero.he} met {friend} on the path. {Friend} had something behind {friend.his} back. "
        "\"I cannot stop,\" said {friend}. \"I have to see somebody about a thing.\"",
        "told": "{Friend} gave {hero.him} {toy.a}. \"I had it behind my back,\" said {friend}. \"It was so hard not "
        "to tell!\"",
    }),
    Forms({
        "friend": "\"Do you know what day it is?\" {hero.he} asked {friend}. \"Is it Monday?\" said {friend}, "
        "and {friend.he} looked away.",
        "told": "\"So it was not Monday,\" said {hero}. \"No,\" said {friend}. \"It was yours.\" And {friend.he} "
        "gave {hero.him} {toy.a}.",
    }),
    Forms({
        "friend": "{Friend} was sitting on a step. \"I have a song in my head today,\" said {hero}. "
        "\"I do not hear anything,\" said {friend}, but {friend.his} foot was tapping.",
        "told": "\"Now I hear it,\" said {friend}, and {friend.he} sang the birthday song louder than anybody.",
    }),
)

EXCUSES = (
    Forms({
        "other": "{Other} was no better. \"Hello,\" said {other}, \"and goodbye.\" Then {other.he} ran into a bush.",
        "told": "\"You ran into a bush,\" said {hero} to {other}. \"I was so full of the secret,\" said {other}. "
        "\"It nearly came out of my ears.\"",
    }),
    Forms({
        "other": "{Hero} went to see {other}, but {other}'s door was shut. Somebody behind it whispered, and "
        "somebody giggled.",
        "told": "\"I heard you giggle,\" said {hero} to {other}. \"I had paper stars in my mouth,\" said {other}. "
        "\"They tickled.\"",
    }),
    Forms({
        "other": "{Other} was carrying a big basket. \"It is only washing,\" said {other}. But it smelled of sugar.",
        "told": "\"That was very sweet washing,\" said {hero}. \"It was the cake,\" said {other}. \"I nearly told "
        "you. I nearly ate it, too.\"",
    }),
    Forms({
        "other": "\"Come and play,\" said {hero} to {other}. \"I have to count my toes,\" said {other}, and shut the "
        "gate.",
        "told": "\"How many toes do you have?\" {hero} asked {other}. \"I never counted,\" said {other}. \"I was "
        "hanging up lanterns.\"",
    }),
)

BIRTHDAY = Shape(
    "a birthday",
    cast={"hero": "hero", "friend": "hero", "other": "hero", "helper": "cook"},
    props={"place": PLACES, "toy": TOYS, "secret": SECRETS, "excuse": EXCUSES},
    titles=("{Hero}'s birthday", "Has everybody forgotten?", "A day for {hero}", "The big secret"),
    beats=(
        (
            "It was {hero}'s birthday. {Hero.he} woke up early and lay still, so as to feel what it was like to be "
            "older.",
            "When {hero.full} opened {hero.his} eyes, it was {hero.his} birthday. It looked like any other day.",
            "For a whole week {hero.full} had counted the sleeps. Three, two, one. And now it was here: {hero.his} "
            "birthday.",
        ),
        ("{secret.friend}",),
        ("{excuse.other}",),
        (
            "\"They have all forgotten,\" thought {hero}. {Hero.he} went {place.to} and sat down by {hero.himself}.",
            "{Hero} walked {place.to}. {Hero.he} sang the birthday song, very softly, from me to me.",
            "\"I will not cry,\" said {hero}, \"because I am older now.\" But {hero.he} did, a little, {place.at}.",
        ),
        Maybe((
            "A beetle walked by. \"It is my birthday,\" {hero} told it. The beetle bowed, or else it tripped.",
            "The wind blew gently, and the grass all nodded. At least the grass was polite.",
            "{Hero} made a cake of mud and put a stick in it. It was not the same.",
        )),
        (
            "When the sun went down, {hero} walked home. There was no light in the window. {Hero.he} opened the door.",
            "Then {helper} called from far away, \"{Hero}! Please come and help me carry something!\" So {hero} went.",
            "At last there was a small note on a stone. It said: Follow the string. {Hero} followed it, "
            "around the tree and over the wall.",
        ),
        (
            "\"Surprise!\" they all shouted. There were lanterns in the trees, and {helper} had made a cake as tall "
            "as a hat.",
            "And there they were, every one of them, with paper crowns on. \"Happy birthday, {hero}!\" they sang.",
            "\"Now!\" said somebody. And all at once there was light, and singing, and a table with a white cloth.",
        ),
        (
            "{secret.told}",
            "{excuse.told}",
            "There was {toy.a}, with a bow on it, and there was a slice of cake with the most cherries.",
            "{Friend} gave {hero.him} {toy.a}, and {other} gave {hero.him} a jar of jam. {Hero} could not decide "
            "which to hug first.",
        ),
        (
            "That night {hero} counted again. It was three hundred sleeps and more until the next one. {Hero.he} did "
            "not mind.",
            "\"You did not forget,\" said {hero}. \"How could we?\" they said. \"It is the day that we got you.\"",
            "{Hero} blew out the candles and made a wish, but {hero.he} could not think of one thing that was not "
            "already there.",
        ),
    ),
)

GUEST = Shape(
    "somebody new",
    cast={"hero": "hero", "friend": "hero -child", "other": "hero"},
    props={"place": PLACES, "toy": TOYS},
    titles=("Somebody new", "{Friend} comes to stay", "The new {friend.kind}", "{Hero} makes a friend"),
    beats=(
        (
            "Once, before {hero} or anybody else knew {friend.him}, {friend.full} was new in Thimble Valley.",
            "Long ago, when {friend.full} first came over the hill, {friend.he} did not know one single soul, not "
            "even {hero}.",
            "There was a new face {place.at}. {Hero} had never seen it before. It belonged to {friend.a}, "
            "and {friend.he} was hiding behind a leaf.",
        ),
        (
            "{Friend.he} watched the others play. {Friend.he} wanted to ask if {friend.he} could play too, "
            "but the words would not come out.",
            "The others were running about with {toy.a}. {Friend} stood a long way off, on one foot.",
            "When somebody looked at {friend.him}, {friend} looked at the ground. {Friend.he} knew that ground very "
            "well by noon.",
        ),
        (
            "{Hero.full} saw {friend.him}. \"Who is that?\" asked {hero}. \"I do not know,\" said {other}. "
            "\"Somebody new. Throw it to me!\"",
            "\"That one never says anything,\" said {other}. But {hero} remembered what it was like to be new.",
            "It was {hero} who saw the two bright eyes. {Hero.he} stopped in the middle of the game.",
        ),
        (
            "{Hero} walked over slowly. {Hero.he} did not say, \"What is your name?\" {Hero.he} sat down and began "
            "to build a "
            "[house of twigs|tower of stones|boat of bark].",
            "{Hero} went over and held out {hero.his} {toy}. \"This needs two,\" {hero.he} said, \"and I am only "
            "one.\"",
            "\"I have more {hero.food} here than I can eat,\" said {hero}, and {hero.he} sat down not too near. "
            "\"Somebody will have to help me.\"",
        ),
        (
            "After a while a small voice said, \"May I hold that for you?\" And that was the beginning.",
            "{Friend} came one step closer. Then {friend.he} came one more. Then {friend.he} sat down too.",
            "\"I am {friend},\" said {friend}, so softly that it might have been the grass. \"I know a game.\"",
        ),
        Pick(1, (
            "{Friend}'s game was better than any of theirs. You had to hop, and you had to shout "
            "[cabbage|pudding|teapot].",
            "It turned out that {friend} could make a noise just like a door. They laughed until they had to lie down.",
            "It turned out that {friend} knew the names of all the stars, and where each of them went to bed.",
            "{Friend} told them about the place {friend.he} had come from, where the hills were blue and the bread "
            "was square.",
        )),
        (
            "\"Why did you not come before?\" asked {other}. \"I was waiting for a door,\" said {friend}. "
            "\"And {hero} opened one.\"",
            "Soon {other} came to look, and then they all came. \"Is there room for us?\" they asked. {Friend} moved "
            "over.",
            "\"Will you come again tomorrow?\" asked {other}. And {friend} said yes, quite loudly.",
        ),
        (
            "When it was time to go home, {friend} was not new any more. {Friend.he} walked home beside {hero}, and "
            "they talked all the way.",
            "So {hero} had one more friend, and {friend} had a whole valley.",
            "That evening {hero} said to {hero.his} mama, \"I found somebody today.\" \"Where?\" she asked. "
            "\"Behind a leaf,\" said {hero}.",
        ),
    ),
)

SHAPES = (LOST, WHOSE, SHARING, MISTAKE, MAKING, BIRTHDAY, GUEST)
