"""Story shapes about the evening, the night and being small: the dark, a noise, bedtime, the moon, a cold, a quiet "
"walk."""

from __future__ import annotations

from inputs.tales.grammar import Forms, Maybe, Pick, Shape
from inputs.tales.words import PLACES

DARK = Shape(
    "afraid of the dark",
    cast={"hero": "hero little", "helper": "night"},
    props={"place": PLACES},
    titles=("{Hero} and the dark", "What is in the dark?", "The soft dark", "{Hero} stays awake"),
    beats=(
        (
            "{Hero.full} was not afraid of bees. {Hero.he} was not afraid of thunder. But {hero.he} was afraid of "
            "the dark.",
            "All day long {hero.full} was brave. Then the sun went down, and somehow the brave went down with it.",
            "When night came to the valley, it came to {hero.full}'s room last of all, and it stood in the corner.",
        ),
        (
            "\"Please leave the door open,\" {hero.he} said to {hero.his} mama. \"A little more. A little more than "
            "that.\"",
            "\"Good night,\" said {hero}'s mama, and she blew out the candle. The dark came up to the bed and sat "
            "down on it.",
            "{Hero.he} pulled the blanket up to {hero.his} nose. Then {hero.he} pulled it up over {hero.his} nose, "
            "too.",
        ),
        (
            "There was something on the chair. It had two long arms and no head.",
            "Tap, tap, tap, went something at the window. It wanted to come in.",
            "Something in the wall went creak. Something under the floor went crick.",
            "Whoo, said something outside, and {hero} did not know who it meant.",
        ),
        (
            "\"Who is there?\" whispered {hero}. \"Only me,\" said a kind voice. It was {helper.full}, who was "
            "always up late.",
            "{Hero} called out, and {helper.full} heard {hero.him}. {Helper} looked in at the window. \"Is it the "
            "dark?\" {helper.he} asked. {Hero} nodded.",
            "Then {hero.he} saw {helper} outside, walking about as if it were noon. \"Are you not afraid?\" asked "
            "{hero}. \"Of this?\" said {helper}. \"Oh, no.\"",
        ),
        (
            "\"Come,\" said {helper}. \"I will show you who it is.\" The long arms were a coat. The tap was a twig. "
            "The creak was the house, lying down.",
            "\"Let us say good evening to each of them,\" said {helper}. \"Good evening, coat. Good evening, twig. "
            "Good evening, old house.\"",
            "\"The dark is not a thing that comes in,\" said {helper}. \"It is only the same room, with its eyes "
            "shut.\"",
        ),
        (
            "Then they went out and sat on the step. Slowly {hero} began to see. The dark was not black. It was "
            "blue, and it was full of small lights.",
            "\"The dark is where the stars live,\" said {helper}. \"And the fireflies, and the smell of the grass, "
            "and all of your dreams.\"",
            "\"If there were no dark,\" said {helper}, \"then the moon would have nowhere to go.\" {Hero} had not "
            "thought of that.",
        ),
        (
            "{Hero} listened. There was a cricket. There was the brook, a long way off. They had been there every "
            "night, and {hero.he} had never heard them.",
            "An old moth came and sat on {hero}'s foot. It had brown velvet wings. \"It would not come out by day,\" "
            "said {helper}. \"It is too shy.\"",
            "They counted stars until {hero} ran out of numbers. Then they used the same numbers again.",
        ),
        (
            "When {hero} was back in bed, the dark came up and sat down beside {hero.him}. {Hero.he} moved over, to "
            "make room.",
            "\"You can shut the door, Mama,\" said {hero}. \"All the way?\" she asked. \"Nearly,\" said {hero}.",
            "\"Good night, coat,\" said {hero}. \"Good night, twig.\" Nobody answered, and that was just how it "
            "should be.",
            "After that, {hero} liked the dark well enough. It was soft, and it was the right color for sleep.",
        ),
    ),
)

NOISE = Shape(
    "a noise in the night",
    cast={"hero": "hero ground", "friend": "hero", "other": "hero", "sleeper": "strong animal"},
    props={"place": PLACES},
    titles=("The noise in the night", "What went bump?", "{Hero} hears a noise", "The monster that was not"),
    beats=(
        (
            "In the middle of the night {hero.full} woke up. There had been a noise.",
            "It was late, and the whole valley was asleep. Then something went bump, and {hero.full} sat up in bed.",
            "{Hero.full} was dreaming about {hero.food} when a sound came into the dream and spoiled it.",
        ),
        (
            "\"Grrr,\" it went. \"Grrr, hoo.\" It seemed to come from {place}.",
            "It was a long, low sound, like a table being pulled over a floor. It came from {place}.",
            "First it was loud, and then it was soft. First it was loud, and then it was soft. Nobody had ever heard "
            "anything like it.",
        ),
        (
            "{Hero} ran to {friend}'s door. \"Do you hear it?\" {hero.he} whispered. {Friend} did. {Friend.his} "
            "knees knocked.",
            "{Friend} was awake too. \"I think it is a [dragon|giant|lion],\" said {friend}. \"There are no such "
            "things here,\" said {hero}. \"Are there?\"",
            "\"I was not going to get up,\" said {friend}, \"but I did not want to lie there alone.\"",
        ),
        (
            "They met {other} on the path. {Other.he} had a pot on {other.his} head. \"It is so that I will be "
            "brave,\" said {other}.",
            "They went to get {other.full}, because three are braver than two. {Other} brought a broom.",
            "\"What will we do when we find it?\" asked {other}. Nobody knew. \"We will say hello,\" said {hero}, "
            "\"and then we will run.\"",
        ),
        (
            "They went on tiptoe, in a line. A twig went snap, and they all jumped. It was {friend} who had stepped "
            "on it.",
            "An owl flew over. A leaf fell down. Each time, they held on to one another, until they walked along "
            "like one thing with a great many legs.",
            "The nearer they came, the louder it was. The ground shook a little. {Hero} could feel it in {hero.his} "
            "toes.",
        ),
        Maybe((
            "\"You go first,\" said {friend}. \"No, after you,\" said {other}. They were very polite about it.",
            "\"I have just remembered that I am not here,\" said {other}, and turned around. But {hero} held on to "
            "{other.him}.",
        )),
        (
            "{Hero} took one more step and looked around the corner. Then {hero.he} began to laugh.",
            "Then the moon came out, and they saw it. It was big, it was round, and it was wearing a nightcap.",
            "{Hero} shut {hero.his} eyes and said, \"Hello, monster.\" The noise stopped. \"Is it breakfast?\" said "
            "a sleepy voice.",
        ),
        (
            "It was {sleeper.full}, flat on {sleeper.his} back {place.at}. It had been a snore!",
            "It was no monster. It was {sleeper.full}! {Sleeper.his} bed had been too hot, so {sleeper.he} had come "
            "out to sleep {place.at}.",
            "There lay {sleeper.full}, with a flower in front of {sleeper.his} nose. It went in with each breath, "
            "and it came out with each snore.",
        ),
        (
            "\"Did I wake you?\" asked {sleeper}. \"I am so sorry.\" \"It was nothing,\" said {friend}. \"We were "
            "just out for a walk.\"",
            "They turned {sleeper} on {sleeper.his} side, the way you turn a big log. Now the crickets could be "
            "heard again.",
            "\"I was never afraid,\" said {other}. \"Nor was I,\" said {friend}. They were all rather sleepy now.",
        ),
        (
            "\"Now that we know what it is,\" said {hero}, \"it is not a bad noise at all.\" And they lay down, and "
            "it rocked them to sleep.",
            "{Hero} went home to bed. When the noise began again, {hero.he} smiled. \"Good night, monster,\" "
            "{hero.he} said.",
            "In the morning {sleeper} said, \"I slept well. And you?\" {Hero} and {friend} and {other} did not hear. "
            "They were snoring.",
        ),
    ),
)

BEDTIME = Shape(
    "bedtime",
    cast={"hero": "hero little", "friend": "animal"},
    props={"place": PLACES},
    titles=("{Hero} cannot sleep", "Wide awake", "Good night, {hero}", "One more thing"),
    beats=(
        (
            "It was bedtime, but {hero.full} was not sleepy. {Hero.he} was as wide awake as a [fish|lamp|window].",
            "\"Into bed,\" said {hero}'s mama. {Hero.full} got in at one side and out at the other.",
            "The moon was up, and the lamp was out, and {hero.full} lay in bed with both eyes open.",
        ),
        (
            "\"Mama,\" said {hero}, \"I am thirsty.\" So {hero.his} mama brought some water.",
            "\"Mama,\" said {hero}, \"my pillow is too [flat|hot|thick].\" So {hero.his} mama turned it over.",
            "\"Mama,\" said {hero}, \"my left foot is lonely.\" So {hero.his} mama tucked it in beside the right one.",
        ),
        (
            "\"Try counting something,\" said Mama. {Hero} counted {friend}, over and over, hopping over a gate. But "
            "{friend} got stuck on the gate, and that was so funny that {hero} laughed.",
            "\"Shut your eyes,\" said Mama. {Hero} shut them. \"It is too loud in here,\" {hero.he} said. \"I can "
            "hear myself not sleeping.\"",
            "{Hero} tried to lie on {hero.his} side. {Hero.he} tried to lie on {hero.his} tummy. {Hero.he} tried to "
            "lie on top of {hero.his} own ear.",
        ),
        (
            "{Hero} looked out of the window. Down {place.at} somebody was still up. It was {friend}, yawning. "
            "{Friend} yawned so wide that you could have put a pear in.",
            "\"Is everybody asleep?\" asked {hero}. \"The hens are asleep,\" said Mama, \"and the bees are asleep, "
            "and even {friend} is asleep, with one leg out of bed.\"",
            "\"What does {friend} do when {friend.he} cannot sleep?\" asked {hero}. \"I believe that {friend.he} "
            "stops trying,\" said Mama.",
        ),
        (
            "\"I will tell you a secret,\" said Mama. \"You do not have to sleep. You only have to lie still and "
            "think of one good thing from today.\"",
            "Then Mama sat down on the edge of the bed, and she began to hum. It was an old tune that went around "
            "and around, like a cat before it lies down.",
            "\"Tell me about today,\" said Mama. \"Start at the end, and go backward.\"",
        ),
        (
            "{Hero} thought of the [warm stone|soft grass|bright water] {place.at}. {Hero.he} thought of the sun on "
            "it, and how it was still there, in the dark, cooling.",
            "\"There was supper,\" said {hero}, \"and before that there was the walk home. And before that we were "
            "{place.at}. And before that...\" There was no before that.",
            "The wind went by outside, and it said hush to the trees, and hush to the grass. {Hero} felt it go by, "
            "slow and wide.",
        ),
        (
            "\"Mama,\" said {hero}, very slowly, \"there is one more thing.\" \"What is it?\" said Mama. But {hero} "
            "was asleep.",
            "{Hero}'s one eye closed, and then the other one went to see where it had gone.",
            "\"I am still not sleepy,\" said {hero}, and {hero.he} slept until the morning.",
            "Mama kissed {hero} on the nose. \"Good night,\" she said. And in {hero.his} sleep {hero.he} said it back.",
        ),
    ),
)

MOON = Shape(
    "catching the moon",
    cast={"hero": "hero ground", "friend": "hero", "helper": "wise"},
    props={},
    titles=("{Hero} and the moon", "The moon in the pond", "How to catch the moon", "A moon for {friend}"),
    beats=(
        (
            "One night {hero.full} looked into the duck pond, and there was the moon.",
            "\"The moon has fallen into the water!\" said {hero.full}. {Hero.he} could see it, round and white, "
            "beside the lilies.",
            "{Friend} was sad, and {hero.full} wanted to give {friend.him} something nice. The nicest thing "
            "{hero.he} could think of was the moon.",
        ),
        (
            "\"I will get it out,\" said {hero}, \"before it gets cold.\" {Hero.he} took a bucket.",
            "\"If I had the moon,\" said {hero}, \"I could read in bed.\" {Hero.he} went to find a bucket.",
            "\"It is just the right size for a plate,\" thought {hero}. {Hero.he} took the biggest bucket {hero.he} "
            "had and leaned out over the pond.",
        ),
        (
            "{Hero.he} dipped it in. The moon broke into a hundred bits. {Hero.he} held still, and the bits swam "
            "back together.",
            "{Hero.he} got it! {Hero.he} was sure of it. But when {hero.he} looked, there was only water, and one "
            "surprised tadpole.",
            "{Hero.he} reached out, and reached a little more. Splash! Now {hero} was in the pond, and the moon was "
            "in the waves.",
        ),
        (
            "{Friend} came by. \"What are you fishing for?\" asked {friend}. \"The moon,\" said {hero}. \"It is a "
            "slippery one,\" said {friend}, and got a bucket too.",
            "\"Let us be quick,\" said {friend}. \"Let us be slow,\" said {hero}. They tried it both ways.",
            "\"Perhaps it likes [cheese|bread|jam],\" said {friend}. They put some on a leaf and let it float. A "
            "fish ate it, and the leaf as well.",
        ),
        (
            "\"Look up,\" said {helper}, who had been watching from the bank. They looked up. There it was, high in "
            "the sky, quite dry.",
            "{Helper.full} came with a lamp. \"That is not the moon,\" {helper.he} said. \"That is how the pond "
            "thinks of it.\"",
            "Then {helper} laughed softly. \"You have caught it already,\" {helper.he} said. \"It is in the pond, "
            "and in the bucket, and in each of your eyes.\"",
        ),
        (
            "{Hero} looked into the bucket. There was a small moon in it, trembling a bit. {Hero.he} looked at "
            "{friend}. There were two more, one in each eye.",
            "{Hero} thought about that. There was one moon in the sky, one in the pond and one in every puddle in "
            "the lane. It was a lot of moon.",
            "\"So everybody can have it,\" said {hero}, \"and it is never used up.\" \"That is the best thing about "
            "it,\" said {helper}.",
        ),
        (
            "They carried the bucket home between them, very slowly, so as not to spill it.",
            "They sat on the bank with wet feet until the moon in the pond went behind a lily. The one in the sky "
            "went behind a cloud.",
            "{Hero} set a bowl of water under {friend}'s window. \"Look in it,\" {hero.he} said. {Friend} looked, "
            "and {friend.he} smiled.",
        ),
        (
            "Ever since, {hero} has put out a cup of water when the sky is clear. \"Come in,\" {hero.he} says, \"if "
            "you would like to.\"",
            "In the morning there was only water in it. \"It has gone to bed,\" said {hero}. \"So it does come from "
            "far away.\"",
            "\"Good night, moon,\" said {hero}. \"Good night, other moon,\" said {friend}.",
        ),
    ),
)

COLD = Shape(
    "a cold",
    cast={"hero": "hero", "friend": "hero", "other": "hero", "helper": "cook"},
    props={"place": PLACES},
    titles=("{Friend} has a cold", "Soup for {friend}", "Get well soon", "{Hero} takes care of {friend}"),
    beats=(
        (
            "\"Atchoo!\" said {friend.full} to {hero}. {Friend.he} had a cold, and {friend.his} nose was "
            "[pink|red|like a cherry].",
            "{Hero} waited for {friend.full} {place.at}, but {friend} did not come. "
            "So {hero} went to see what was the matter.",
            "{Hero} found {friend.full} in bed, with a scarf around {friend.his} neck and a hot stone at "
            "{friend.his} feet. "
            "{Friend.he} had a bad cold.",
        ),
        (
            "\"Go away,\" said {friend}. \"You will catch it.\" \"I have caught nothing all day,\" said {hero.full}, "
            "and {hero.he} came in.",
            "\"I cannot smell,\" said {friend}, \"and I cannot taste, and everything is boring.\" \"Then I will be "
            "interesting,\" said {hero}.",
            "\"What would you like?\" asked {hero}. \"I would like to be well,\" said {friend}. \"I will go and see "
            "about that,\" said {hero}.",
        ),
        (
            "{Hero} went to {helper}. {Helper} had a big black pot. \"For a cold,\" said {helper}, \"you need soup, "
            "sleep and somebody.\"",
            "\"I will make the soup,\" said {helper.full}, \"and you will carry it. Do not run, or you will bring me "
            "back an empty bowl and a wet shirt.\"",
            "{Helper.full} knew what to do. Into the pot went a leek, a carrot and three green leaves. \"And now a "
            "good word,\" said {helper}. {Hero} said, \"Please.\"",
        ),
        (
            "{Hero} carried the soup all the way without a spill, with {hero.his} tongue between {hero.his} teeth.",
            "On the way {hero} met {other}. \"Is it for {friend}?\" asked {other}, and gave {hero.him} a [pear|pot "
            "of honey|feather pillow] to take along.",
            "The bowl was so hot that {hero.he} had to put it down on every stone. But {hero.he} got there.",
        ),
        (
            "{Friend} drank it. One ear went pink, and then the other. \"I can nearly taste it,\" said {friend}.",
            "{Friend} took one sip, and then another, and then there was no more soup. \"Oh,\" said {friend}, \"that "
            "is warm all the way down.\"",
            "{Hero} held the spoon. \"One for the hill,\" {hero.he} said, \"and one for the mill, and one for the "
            "snail on the windowsill.\"",
        ),
        Pick(1, (
            "Then {hero} told a story about a flea who went to sea. It had no end, so {hero.he} stopped when "
            "{friend} began to snore.",
            "Then {hero} made shadows on the wall. {Hero.he} made a bird. {Hero.he} made a dog. {Hero.he} made a "
            "thing that was not anything, and {friend} liked that the best.",
            "Then {hero} read aloud. {Hero.he} did all of the voices, even the voice of the spoon.",
            "Then they played a game of guessing. \"I am thinking of something green,\" said {friend}. \"Is it "
            "you?\" said {hero}.",
        )),
        (
            "{Friend} slept, and {hero} sat by the bed and was as quiet as dust.",
            "All afternoon the rain ran down the window, and {hero} stayed. It was nice, to be needed.",
            "When it was dark, {hero} lit a candle. \"I will stay until you are asleep,\" {hero.he} said. And "
            "{hero.he} stayed for longer than that.",
        ),
        (
            "In the morning {friend} sat up. {Friend.his} nose was the right color. \"I am well!\" {friend.he} said. "
            "\"Atchoo!\" said {hero}.",
            "Two days later {friend} was up and about, and {hero} was in bed with a scarf on. \"Now it is my turn,\" "
            "said {friend}, and went to get the soup for {hero}.",
            "\"It was the soup,\" said {friend}. \"It was the sleep,\" said {helper}. But {friend} looked at {hero}. "
            "\"It was the somebody,\" {friend.he} said.",
        ),
    ),
)

WALK = Shape(
    "a walk with somebody small",
    cast={"hero": "hero", "friend": "hero small", "helper": "wise"},
    props={"place": PLACES},
    titles=("A walk {place.to}", "What {friend} saw", "The slow walk", "Three good things"),
    beats=(
        (
            "One morning {hero.full} and {friend.full} went for a walk {place.to}. They were not going to get "
            "anything. They were only going.",
            "\"What shall we do?\" asked {friend.full}. \"Let us walk {place.to},\" said {hero.full}, \"and find "
            "three good things.\"",
            "It was the kind of day that wants you to come out. So {hero.full} and {friend.full} came out.",
        ),
        (
            "{Hero} walked fast, and {friend} had to stop and look at everything. \"Come on,\" said {hero}. \"We "
            "will be late.\" \"For what?\" said {friend}. {Hero} did not know.",
            "They went through the gate and past the stump where the mushrooms live. \"Good morning, mushrooms,\" "
            "said {friend}.",
            "They did not take the road. They took the path that goes beside the road and has more to say.",
        ),
        Pick(3, (
            "They saw a spider's web with drops on it. \"Somebody has hung up the rain to dry,\" said {friend}.",
            "They saw an ant with a leaf as big as a sail. They moved a twig out of its way, and the ant went by "
            "without a word. It was very busy.",
            "They saw a bird's egg shell, as blue as the sky. It was empty. \"Somebody has gone out,\" said {hero}.",
            "They found a stone that was warm on one side. \"The sun has been sitting here,\" said {friend}.",
            "They heard a tapping in a tree, and they tapped back. The tapping stopped to think about it.",
            "They met a caterpillar on its way up a stalk. \"Where are you going?\" they asked. It did not know, but "
            "it was going there with all of its feet.",
            "They came to a puddle, and in it a leaf was sailing. {Hero} blew on it, and it went all the way to the "
            "other side of the sea.",
            "There was a feather on the path. {Friend} put it behind one ear. \"Now I am a poet,\" said {friend}.",
            "There was a smell of bread, and it walked beside them for a while, and then it turned off toward "
            "somebody's house.",
            "They saw two snails, one going up a wall and one coming down. \"They will have so much to tell each "
            "other,\" said {hero}.",
            "A dandelion clock stood by the gate. {Friend} blew, and the small white stars went off to look for work.",
            "A cow looked over the wall. She looked for a long time. Then she said what she thought, and it was moo.",
        )),
        (
            "At last they were there. They sat down {place.at} and ate. They had brought "
            "{hero.food}, and everything tastes better outside.",
            "When they got there, there was nothing special to see. There was only the wind, and the light, and the "
            "whole valley.",
            "And {place.at} they lay on their backs. The clouds went over, one like a [ship|hat|sheep] and one like "
            "{helper}.",
        ),
        (
            "\"Which was the best thing?\" asked {hero}. \"I cannot say it in front of the others,\" said {friend}.",
            "\"I would have walked right past all that,\" said {hero}. \"That is why I am here,\" said {friend}.",
            "\"I think we have found more than three,\" said {hero}. \"We can keep the rest for tomorrow,\" said "
            "{friend}.",
        ),
        (
            "On the way home {friend} was tired, and {hero} carried {friend.him}. {Friend} looked backward over "
            "{hero}'s shoulder, and saw it all again, the other way around.",
            "\"Where have you two been?\" asked {helper}. \"Nowhere,\" said {hero}. \"It was lovely.\"",
            "\"You were gone for a long time,\" said {helper}. \"What did you bring back?\" {Hero} looked at "
            "{friend}, and they both laughed. It would take a week to tell it.",
            "When they came home, it was nearly dark. {Hero} said good night to {friend}, and to the gate, and to "
            "the path, which had been so good to them.",
        ),
    ),
)

BABY = Shape(
    "a day with Baby",
    cast={"hero": "child", "friend": "strong"},
    props={"place": PLACES},
    titles=("{Hero} and Baby", "Baby's first steps", "Baby looks at the world", "Up you come"),
    beats=(
        (
            "\"Will you look after Baby for a little while?\" said Mama. \"I will,\" said {hero}, who was big now.",
            "Baby could not walk yet. {Hero} could walk, and run, and hop on one foot. \"I will teach you,\" "
            "{hero.he} said.",
            "{Hero} put Baby in the cart and pulled it {place.to}. Baby pointed at everything, and {hero} told Baby "
            "what it was.",
        ),
        (
            "\"Tree,\" said {hero}. \"Tee,\" said Baby. \"Bee,\" said {hero}. \"Bee,\" said Baby. \"You are good at "
            "bees,\" said {hero}.",
            "Baby picked up a leaf and ate it. \"No,\" said {hero}. Baby picked up a stone. \"No, no,\" said {hero}. "
            "Baby picked up {hero}'s thumb.",
            "\"This is a cow,\" said {hero}, \"and that is a wall, and this one here is my nose.\" Baby took hold of "
            "the nose.",
        ),
        (
            "{Friend} came to look. Baby held on to {friend}'s ear, and {friend} let {hero} see that {friend.he} did "
            "not mind.",
            "{Friend.full} was lying in the sun. Baby crept up to {friend.him} and put both arms around one of "
            "{friend.his} legs.",
            "Then Baby saw {friend}, and Baby's eyes grew as round as plums. \"Oh,\" said Baby. \"Oh, oh, oh!\"",
        ),
        (
            "Baby pulled, and stood up. Baby stood there on two fat feet, as proud as a king. \"Look!\" said {hero}. "
            "\"Look, everybody!\"",
            "Then Baby stood up. And then Baby let go. Nobody held Baby at all. {Hero} did not dare to breathe.",
            "{Friend} got up slowly, and Baby, who was holding on, got up as well. {Friend} took a step. So did Baby.",
        ),
        (
            "One step. Two steps. Then Baby sat down with a bump, and looked surprised. {Hero} clapped, and Baby "
            "clapped too.",
            "It was one step, and then it was three, and then it was {hero}'s arms. \"You did it!\" said {hero}.",
            "Baby went left, and Baby went right, and Baby went down. \"Again,\" said Baby.",
        ),
        (
            "When Mama came back, {hero} said, \"Shut your eyes, Mama. Now open them.\" And Baby walked to her, all "
            "by Baby's own self.",
            "\"What did you do today?\" asked Mama. \"We went from here to there,\" said {hero}. And Mama saw how "
            "far that was.",
            "They went home in the evening. Baby did not want to sit in the cart. Baby wanted to walk. It took them "
            "until the stars came out.",
        ),
        (
            "That night {hero} lay awake for a bit. \"I wonder who taught me,\" {hero.he} said. \"We all did,\" said "
            "Mama. \"Sleep well, my big one.\"",
            "\"One day you will run faster than I can,\" {hero} told Baby. But Baby was asleep, with one sock on.",
            "\"Good night, Baby,\" said {hero}. \"Bee,\" said Baby, and that was as good as good night.",
        ),
    ),
)

# How somebody cross is unkind, and how they say sorry for just that.
SLIGHTS = (
    Forms({
        "did": "\"Good morning!\" said {friend}. \"What is good about it?\" said {hero}. {Friend} did not know what "
        "to say.",
        "sorry": "{Hero} went to {friend}'s door, although it was late. \"Good morning,\" {hero.he} said. "
        "\"I should have said it before.\" \"Good morning,\" said {friend}, and laughed.",
    }),
    Forms({
        "did": "{Friend} came by with a new joke. {Hero} did not laugh. {Hero.he} said it was an old joke, "
        "and that {friend} told it badly.",
        "sorry": "Then {hero} went to find {friend}. \"I was not kind today,\" {hero.he} said. \"I am sorry. "
        "Would you tell me the joke again?\"",
    }),
    Forms({
        "did": "\"Do you want to play?\" asked {friend}. \"No,\" said {hero}. \"Do you want to sit?\" asked {friend}. "
        "\"No!\" said {hero}.",
        "sorry": "\"{Friend},\" said {hero}, \"I said no to you today, and I meant yes. I am sorry. May I come and "
        "sit?\" "
        "{Friend} moved over.",
    }),
    Forms({
        "did": "{Friend} had brought {hero.him} some {friend.food}. \"I do not want any,\" said {hero}, "
        "who had not even looked.",
        "sorry": "Then {hero} went to {friend}. \"I did not look at what you brought me,\" {hero.he} said. \"I am "
        "sorry.\" "
        "There was still some left, and they shared it.",
    }),
)

GRUMPS = Shape(
    "too tired to be kind",
    cast={"hero": "hero", "friend": "hero", "other": "hero", "helper": "wise"},
    props={"place": PLACES, "slight": SLIGHTS},
    titles=("{Hero} is cross", "The grumpy day", "A bad start", "{Hero} and the grumps"),
    beats=(
        (
            "{Hero.full} got out of bed on the wrong side. There was a wall on that side, so it hurt.",
            "It was a grumpy day. {Hero.full} could tell as soon as {hero.he} woke up, because {hero.his} feet were "
            "grumpy already.",
            "Nothing was right that morning. The porridge had a lump, the lump had a skin, and {hero.full} was cross.",
        ),
        ("{slight.did}",),
        (
            "{Hero} shouted at {other} for humming. {Hero.he} shouted at a bush for being in the way.",
            "Then {other} took the seat in the sun. \"That is my seat!\" said {hero}, and pushed. "
            "{Other} got up and went home without a word.",
            "\"You are standing on my shadow,\" {hero} told {other}. {Other} said sorry to the shadow, and that made "
            "it worse.",
            "{Other} waved from the bridge. {Hero} turned {hero.his} back and did not wave. {Other}'s hand came down "
            "slowly.",
        ),
        (
            "By noon there was nobody left to be cross with. {Hero} sat {place.at}, all alone, and was cross with "
            "{hero.his} own knees.",
            "Soon it was very quiet {place.at}. {Hero} had got what {hero.he} wanted. Everybody had gone away. It "
            "was not nice at all.",
        ),
        (
            "{Helper} sat down on the other end of the log. {Helper.he} did not say, \"Cheer up.\" {Helper.he} said, "
            "\"It is a heavy one, I see.\"",
            "\"Have you eaten?\" asked {helper.full}. {Hero} shook {hero.his} head. \"Have you slept?\" {Hero} shook "
            "it again. \"Then it is not you,\" said {helper}. \"It is only your tummy, talking with your mouth.\"",
            "\"I have days like that,\" said {helper}. \"I call them thistle days. You cannot pick them up, and you "
            "cannot throw them away. You can only wait, and have some tea.\"",
        ),
        (
            "So {hero} had {hero.food} and a short nap. When {hero.he} woke up, the grumps had gone out by the back "
            "door.",
            "{Hero} put {hero.his} head on {helper}'s shoulder and cried a bit. It was like rain. Afterward "
            "everything was clean.",
            "They drank the tea slowly, and watched the steam. With each sip {hero} grew a little less thistle and a "
            "little more clover.",
        ),
        (
            "{slight.sorry}",
            "{slight.sorry}",
            "{Hero} went to {friend}, and {hero} went to {other}, and {hero.he} said sorry to both. It took a long "
            "time, and it was worth it.",
            "\"{Friend},\" said {hero}, \"I threw my bad day at you. May I have it back?\" \"I have thrown it in the "
            "brook,\" said {friend}.",
        ),
        (
            "And the evening was so fine that {hero} thought it must have been saved up from the morning.",
            "\"It was a good day after all,\" said {hero}, as the sun went down red. \"It only had a bad front,\" "
            "said {friend}.",
            "That night {hero} moved {hero.his} bed away from the wall. Now both of its sides are the right side.",
        ),
    ),
)

SHAPES = (DARK, NOISE, BEDTIME, MOON, COLD, WALK, BABY, GRUMPS)
