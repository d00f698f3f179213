"""Story shapes about going out: weather, getting stuck, losing the way, visits, seeds, learning and playing."""

from __future__ import annotations

from inputs.tales.grammar import Maybe, Shape
from inputs.tales.words import FLOWERS, PLACES, SKILLS, TOYS

RAIN = Shape(
    "caught in the rain",
    cast={"hero": "hero ground -swim", "helper": "animal -small", "friend": "hero small"},
    props={"place": PLACES},
    titles=("{Hero} in the rain", "A very wet day", "The big storm", "Drip, drop"),
    beats=(
        (
            "The sky was blue when {hero.full} set out {place.to}. It was not blue for long.",
            "{Hero.full} was {place.at} when the first drop fell. It fell on {hero.his} nose.",
            "\"It will not rain,\" said {hero.full}, and {hero.he} left {hero.his} coat at home. The clouds heard "
            "that.",
            "Far off, behind Windy Hill, something went rumble. {Hero.full} looked up from {hero.his} game.",
        ),
        (
            "Then the rain came down all at once, like [peas out of a sack|a bath turned over|a thousand small drums].",
            "One drop, two drops, and then more drops than anybody could count.",
            "The wind bent the grass flat. The rain came in sideways, and then it came from underneath.",
        ),
        (
            "{Hero.he} ran under a leaf, but the leaf was too small. {Hero.he} ran under a bush, but the bush leaked.",
            "In no time {hero.he} was wet from {hero.his} ears to {hero.his} toes, and {hero.his} tummy was wet too.",
            "\"Help!\" called {hero}. But the rain was so loud that nobody heard {hero.him}.",
        ),
        (
            "Then a door opened in the gray. \"Come in, come in!\" cried {helper.full}. \"You are wetter than the "
            "pond.\"",
            "\"Is that {hero} or a fish?\" said somebody. It was {helper}, with a big umbrella.",
            "Somebody stepped in front of {hero.him} and kept off the wind. It was {helper.full}. \"Walk behind "
            "me,\" {helper.he} said.",
        ),
        (
            "Soon {hero} was sitting in front of the fire with a blanket around {hero.him}, and steam went up from "
            "{hero.his} feet.",
            "{Helper} rubbed {hero.his} head with a towel until {hero.he} looked like a [dandelion|brush|small "
            "haystack].",
            "They drank something hot and sweet, and they listened to the rain, which is a friendly sound when you "
            "are dry.",
        ),
        Maybe((
            "There was a tap at the window, as soft as a leaf. It was {friend}, wet through. So there was one more "
            "at the fire.",
            "\"Tell me a story,\" said {hero}. {Helper} told one about a cloud that was afraid of heights.",
            "The thunder said boom. {Hero} jumped. \"It only wants to come in,\" said {helper}, \"but we are full.\"",
        )),
        (
            "By and by the drops came slower. Plip, they said. Plop. And then they said nothing.",
            "Then {hero} saw a yellow line under the door. It was the sun, looking for {hero.him}.",
            "\"Listen,\" said {helper}. {Hero} listened. There was no rain. There was only a bird, trying out one "
            "note.",
        ),
        (
            "They went outside. From one end of the valley to the other there was a rainbow, and one foot of it "
            "stood {place.at}.",
            "Everything was shining. Each blade of grass had a drop on it, and in each drop there was a tiny sun.",
            "The path was one long puddle. \"Well,\" said {helper}, \"you cannot get any wetter.\" They splashed all "
            "the way home.",
        ),
        (
            "\"Thank you for the rain,\" said {hero}. \"It was not mine,\" said {helper}, \"but you are welcome to "
            "it.\"",
            "When it rains now, {hero} always looks out of the window, to see if somebody needs to come in.",
            "\"It will not rain tomorrow,\" said {hero}. But {hero.he} took {hero.his} coat. {Hero.he} had learned "
            "that much.",
            "So {hero} came home dry and happy, and only a little bit late for supper.",
        ),
    ),
)

SNOW = Shape(
    "a snow day",
    cast={"hero": "hero ground", "friend": "hero", "other": "hero small"},
    props={"place": PLACES},
    titles=("The first snow", "{Hero} and the snow", "A white morning", "The friend made of snow"),
    beats=(
        (
            "{Hero.full} woke up, and the light was strange. It was white, and it came from below.",
            "In the night, without a sound, the snow had come. {Hero.full} opened the door, and there was no path, "
            "and no fence.",
            "\"Somebody has spilled the [milk|sugar|flour],\" said {hero.full}. But it was snow.",
        ),
        (
            "{Hero} put out one foot. The snow said crump. {Hero.he} put out the other. Crump, it said again.",
            "{Hero.he} ran {place.to}, and {hero.his} feet wrote a long, long word behind {hero.him}.",
            "{Hero} lay down on {hero.his} back and waved {hero.his} arms. When {hero.he} got up, somebody with "
            "wings was lying there.",
        ),
        (
            "{Friend} was there before {hero.him}. \"Let us make somebody,\" said {friend}.",
            "\"I have a ball of snow,\" said {friend}, \"and it is getting too big for me.\" So {hero} helped to push.",
            "A snowball came over the hedge, and after it came {friend}. \"Sorry,\" said {friend}. \"It was meant "
            "for the tree.\"",
        ),
        (
            "They rolled one big ball, one middle ball and one small ball. They put them one on top of the other.",
            "It took all the snow from {place}. In the end there stood a friend made of snow, with stones for eyes.",
            "They gave it a carrot for a nose, but somebody ate the carrot. They gave it a pine cone, and that stayed.",
        ),
        (
            "\"It looks cold,\" said {hero}. {Hero.he} took off {hero.his} own scarf and put it around the snow "
            "friend's neck.",
            "\"It looks lonely,\" said {other}. So they made a small one beside it, and the two of them looked at "
            "each other.",
            "\"It needs a smile,\" said {other.full}, and {other.he} drew one with a twig. After that it was very "
            "good company.",
        ),
        (
            "They stayed until their toes were numb and the sky was pink. Then they went in for {hero.food} and a "
            "fire.",
            "When the stars came out, it was so cold that the air rang. They ran home, and their breath ran along "
            "beside them.",
            "\"Come in!\" called {hero}'s mama. In they came, all red and white, and they left a lake on the floor.",
        ),
        (
            "In a week the sun was warm. The snow friend grew thin. \"Do not go,\" said {hero}.",
            "But snow does not stay. One morning there was only a scarf on the wet grass, and two stones.",
            "Day by day it grew smaller. \"Is it sad?\" asked {hero}. \"I think it is only going home,\" said "
            "{friend}.",
        ),
        (
            "Where it had stood, the first white flower came up. {Hero} was sure that it smiled.",
            "{Hero} kept the two stones in a box. \"For your eyes,\" {hero.he} said, \"when you come back.\"",
            "\"Goodbye,\" said {hero} to the puddle. And for a moment, when the wind blew, the puddle seemed to wave.",
        ),
    ),
)

STUCK = Shape(
    "stuck",
    cast={"hero": "hero -small -fly", "strong": "strong", "friend": "hero", "smallest": "small"},
    props={"place": PLACES},
    titles=("{Hero} is stuck", "Pull!", "A little help", "{Smallest} pulls too"),
    beats=(
        (
            "{Hero.full} was stuck. {Hero.he} was stuck in [the mud|a hole in the fence|a hollow log], {place.at}, "
            "and it was all because of a butterfly.",
            "\"I can get through there,\" said {hero.full}, looking at the gap in the wall. {Hero.he} was half "
            "right. Half of {hero.him} got through.",
            "One fine day {hero.full} put {hero.his} head into a pot to see what was in it. Nothing was. But now "
            "{hero} was.",
        ),
        (
            "{Hero.he} wriggled to the left. {Hero.he} wriggled to the right. It only made things tighter.",
            "\"I will stay calm,\" said {hero}, and {hero.he} was calm for as long as it takes to say so. Then "
            "{hero.he} yelled.",
            "{Hero} thought about supper. {Hero.he} thought about how supper was over there, and {hero.he} was here.",
        ),
        (
            "{Friend} heard the noise and came running. {Friend} took hold of {hero} and pulled. Nothing happened.",
            "\"Are you stuck?\" asked {friend}. \"No,\" said {hero}, \"I live here now.\" So {friend} began to pull.",
            "\"Hold on!\" said {friend.full}. {Friend} pulled until {friend.his} face was red. {Hero} did not move "
            "at all.",
        ),
        (
            "Then {strong} came. {Strong} was as strong as a cart. {Strong} pulled {friend}, and {friend} pulled "
            "{hero}. Still nothing.",
            "They called {strong.full}. \"One, two, three!\" said {strong}. There was a creak, but that was only "
            "{strong}'s back.",
            "\"Let me try,\" said {strong}. {Strong.he} pulled so hard that {strong.he} sat down in a "
            "[puddle|thistle|bucket].",
        ),
        (
            "Just then a little voice said, \"May I pull too?\" It was {smallest.full}.",
            "{Smallest} had been watching. \"I would like to help,\" said {smallest}.",
            "Then came {smallest}, who was no bigger than a bun. \"Where should I hold on?\" asked {smallest}.",
        ),
        (
            "\"You are too small,\" said {strong}. \"I am small,\" said {smallest}, \"but I am not too small.\"",
            "They all laughed. But {hero} said, \"Please let {smallest.him} try. I would be glad of anybody.\"",
            "\"It will make no difference,\" said {friend}. \"Then it will do no harm,\" said {smallest}.",
        ),
        (
            "So they made a line. {Smallest} pulled {strong}, {strong} pulled {friend}, and {friend} pulled {hero}. "
            "POP!",
            "{Smallest} did not pull. {Smallest} went up to {hero}'s ear and tickled it. {Hero} laughed, and "
            "wriggled, and out {hero.he} came!",
            "{Smallest} crept in beside {hero} and pushed from the other side, just a little, just there. And that "
            "did it.",
        ),
        (
            "They all fell over backward in one big heap, with {smallest} on the top.",
            "\"I am out!\" cried {hero}, and {hero.he} kissed everybody, and then the grass.",
            "\"How did you do that?\" asked {strong}. \"I was the last bit,\" said {smallest}. \"There is always a "
            "last bit.\"",
        ),
        (
            "After that, nobody told {smallest} to stand back. And {hero} learned to go around things, and not "
            "through them.",
            "\"Supper,\" said {hero}, \"and you are all invited.\" And {smallest} had the best chair, with three "
            "cushions.",
            "{Hero} has never been stuck again. {Hero.he} has been close to it, but {hero.he} has learned to breathe "
            "in first.",
        ),
    ),
)

HIGH = Shape(
    "caught in a tree",
    cast={"hero": "hero ground", "friend": "hero ground", "helper": "fly"},
    props={"toy": TOYS, "place": PLACES},
    titles=("The {toy.noun} in the tree", "{Hero}'s {toy}", "Too high", "{Helper} helps"),
    beats=(
        (
            "{Hero.full} and {friend.full} were playing {place.at} with {toy.a}.",
            "On the first windy day of the year, {hero.full} took {hero.his} {toy} {place.to}. {Friend} came too.",
            "{Hero} had {toy.a}, quite new. \"Throw it to me!\" said {friend}, and {hero} did.",
        ),
        (
            "Then a big wind came. It took the {toy.noun} up and up, and hung it on the very top of a tree.",
            "Up it went, higher than the roof. It did not come down. It sat in the tallest tree and looked at them.",
            "\"Not so hard!\" cried {hero}. But it was too late. There was the {toy.noun}, in the top of the tree, "
            "as small as a berry.",
        ),
        (
            "{Hero} jumped. {Friend} jumped. {Friend} stood on {hero}, and then {hero} stood on {friend}. It was no "
            "use.",
            "They shook the tree. Three leaves and a beetle came down, and the beetle was cross.",
            "They asked the tree nicely. They asked the wind, too. The wind only laughed and ran away.",
        ),
        (
            "\"I will climb,\" said {hero}. {Hero.he} got as far as the first branch. Then {hero.he} looked down, "
            "and {hero.he} came back.",
            "{Friend} threw a stick to knock it down. Now the stick was in the tree as well.",
            "\"We could wait for winter,\" said {friend}. \"Then the leaves will fall, and it may fall too.\" {Hero} "
            "did not want to wait.",
        ),
        (
            "{Helper.full} was flying by. \"What are you two looking at?\" {helper.he} asked.",
            "\"You need somebody with wings,\" said {friend}. And who should come along the lane but {helper}!",
            "Now {helper} had been asleep on the next branch the whole time. {Helper.he} opened one eye.",
        ),
        (
            "\"Leave it to me,\" said {helper}. {Helper.he} flew up, and took the {toy.noun} by one corner, and let "
            "it go.",
            "{Helper} flew around the tree once, to be polite. Then {helper.he} gave the {toy.noun} a good push.",
            "\"Is that what it is?\" said {helper}. \"I thought it was a strange sort of [fruit|bird|moon].\" And "
            "{helper.he} pulled it free.",
        ),
        (
            "Down it came, turning over and over, and it landed on {friend}'s head.",
            "It came down slowly, like a leaf, right into {hero}'s {hero.hands}.",
            "And down it came, and with it three acorns, and a very old shoe that nobody had lost.",
        ),
        (
            "\"Thank you!\" said {hero}. \"How can we thank you?\" \"You can let me play,\" said {helper}. So "
            "{hero.he} did.",
            "\"It must be lovely to fly,\" said {hero}. \"It is,\" said {helper}. \"But nobody throws me a "
            "{toy.noun}.\" So they threw it to {helper.him}.",
            "{Helper} told them what it looked like from up there. {Hero} listened with {hero.his} mouth open, "
            "and {hero.he} held on to the {toy.noun} with both {hero.hands}.",
            "They played until dark, the three of them, and the next time it went into the tree, {hero} only laughed.",
        ),
    ),
)

FOG = Shape(
    "losing the way",
    cast={"hero": "hero little ground", "helper": "hero", "other": "animal"},
    props={"place": PLACES},
    titles=("{Hero} in the fog", "Which way is home?", "{Hero} loses the way", "Follow the bell"),
    beats=(
        (
            "{Hero.full} had been {place.at} all day. When {hero.he} turned to go home, the fog had come.",
            "Fog is a cloud that is too tired to fly. One evening it lay down on the whole valley, and {hero.full} "
            "was inside of it.",
            "{Hero.full} knew the way home as well as {hero.he} knew {hero.his} own toes. But that day there was fog.",
        ),
        (
            "{Hero.he} could see {hero.his} feet, but {hero.he} could not see where they were going.",
            "The trees were gray, and the sky was gray, and even the sound of {hero.his} steps was gray.",
            "{Hero.he} walked for a long time, and {hero.he} came to a stone. {Hero.he} walked on, and came to a "
            "stone. It was the same stone.",
        ),
        (
            "\"I am not lost,\" said {hero}. \"I am here. It is home that is lost.\"",
            "\"Hello?\" said {hero}. \"Lo,\" said the fog. It was not much help.",
            "{Hero} sat down. {Hero.his} lip began to shake, and {hero.he} told it to stop.",
        ),
        Maybe((
            "A big dark shape stood in the path. {Hero} held {hero.his} breath. \"Good evening,\" said the shape. It "
            "was only {other}, who was lost too.",
            "Something touched {hero.his} cheek, cold and wet. It was a fern, and it meant no harm.",
            "{Hero} sang a song to keep {hero.himself} company. It was a song about soup.",
        )),
        (
            "Then {hero.he} heard it. Far away, a bell was ringing. Ding, it said. Ding, dong.",
            "Then, a long way off, somebody called {hero.his} name, slow and long, like a cow.",
            "Then {hero.he} smelled something. It was very faint. It was {hero.food}!",
            "Then {hero.he} saw a small yellow spot. It swung from side to side. It was a lantern.",
        ),
        (
            "\"I will go a little, and then stop, and then go a little more,\" said {hero}. And so {hero.he} did.",
            "{Hero} got up and went toward it. When it grew weaker, {hero.he} turned. When it grew stronger, "
            "{hero.he} ran.",
            "{Hero} walked with {hero.his} arms out in front. {Hero.he} bumped into a gate, and {hero.he} knew that "
            "gate. {Hero.he} could have kissed it.",
        ),
        (
            "And there stood {helper}. \"There you are!\" said {helper}. \"I have been out here for an hour. I "
            "thought you might like something to walk to.\"",
            "It was {helper}, standing on a box in the middle of the fog. \"I was hoping it was you,\" said {helper}.",
            "\"You found me!\" said {hero}. \"No,\" said {helper}. \"You found me. I only stood still and made it "
            "easy.\"",
        ),
        (
            "They held on to each other all the way to the door, and they had {hero.food} for supper.",
            "{Hero}'s mama did not scold. She held {hero.him} so tight that the fog came out of {hero.his} coat.",
            "By the time they were home, the moon had come out, and the fog lay below them like milk.",
        ),
        (
            "Now {hero} has a bell of {hero.his} own. When the fog comes, {hero.he} goes out and rings it, for "
            "whoever is in there.",
            "\"Were you afraid?\" asked {helper}. \"Only in the middle,\" said {hero}.",
            "\"It was there all the time,\" said {hero}, looking around at home. \"It is a good thing it stayed "
            "where it was.\"",
        ),
    ),
)

SEED = Shape(
    "a seed",
    cast={"hero": "hero", "friend": "hero", "helper": "wise"},
    props={"flower": FLOWERS, "place": PLACES},
    titles=("{Hero} plants a seed", "The slow seed", "{Hero}'s {flower}", "Not yet"),
    beats=(
        (
            "{Helper.full} gave {hero.full} a seed. It was brown, and it was as small as a crumb. \"Take care of "
            "it,\" {helper.he} said.",
            "{Hero.full} found a seed {place.at}. \"What are you?\" {hero.he} asked. The seed kept it to itself.",
            "{Friend} had two seeds. {Friend.he} kept one, and {friend.he} gave the other to {hero.full}.",
        ),
        (
            "{Hero} dug a hole with one {hero.hand}, and put the seed in, and tucked the earth around it like a "
            "blanket.",
            "{Hero} planted it where the sun comes first. {Hero.he} gave it a drink of water and told it a story.",
            "{Hero.he} put it in the ground. Then {hero.he} sat down beside it and waited for it to begin.",
        ),
        (
            "The next day {hero.he} looked. There was nothing. The day after that {hero.he} looked again. There was "
            "still nothing.",
            "\"Is it a flower now?\" asked {hero} in the morning. \"Is it a flower now?\" {hero.he} asked at noon.",
            "{Hero.he} waited until lunch, and that is a very long time. Nothing came up.",
        ),
        (
            "{Hero.he} dug it up to see if it was working, and then {hero.he} put it back. \"Please do not do "
            "that,\" said {helper}. "
            "\"You would not like it either.\"",
            "\"Perhaps it is asleep,\" said {friend}. So {hero} banged on a pot. It woke up [the hens|three "
            "babies|the whole lane], but not the seed.",
            "\"Perhaps it needs music,\" said {friend}. They sang to it. A cow came to listen. The seed did not.",
        ),
        (
            "\"What should I do?\" {hero} asked {helper}. \"You have done it,\" said {helper}. \"Now you must do "
            "nothing. That is the hardest part.\"",
            "\"It is busy where you cannot see it,\" said {helper}. \"Most things are.\"",
            "{Helper} only smiled. \"Seeds cannot tell time,\" {helper.he} said. \"They can only tell warm.\"",
        ),
        (
            "So {hero} stopped looking. {Hero.he} played with {friend}, and {hero.he} went to see the river, and the "
            "days went by.",
            "It rained, and then it was sunny. {Hero} nearly forgot about it. But every evening {hero.he} brought it "
            "some water.",
            "A week went by, and another. {Hero} learned to wait. It is like sitting very still, but on the inside.",
        ),
        (
            "Then one morning there was a green thread in the earth. It was bent over, like somebody putting on a "
            "sock.",
            "Then one day there were two tiny leaves, folded like hands. {Hero} lay down on {hero.his} tummy to look "
            "at them.",
            "\"{Hero}!\" called {friend}. \"Come quickly!\" Something small and green was there, and it was pushing "
            "a stone out of the way.",
        ),
        (
            "It grew and it grew. And when summer came, it opened. It was {flower.a}.",
            "Up it went, past {hero.his} knees. And at the top, one warm day, there was {flower.a}.",
            "Leaf by leaf it grew. It was {flower.a}, the finest {flower} in the valley.",
        ),
        (
            "\"Did I do that?\" asked {hero}. \"You helped it not to be alone,\" said {helper}.",
            "In the fall there were a hundred seeds in it. {Hero} gave one to everybody. \"Now do nothing,\" "
            "{hero.he} told them.",
            "\"Hello,\" said {hero}. \"So that is what you are.\" And the {flower} nodded.",
            "{Hero} did not pick it. {Hero.he} brought out a chair, and sat down beside it, and they looked at the "
            "sky together.",
        ),
    ),
)

LEARNING = Shape(
    "learning something",
    cast={"hero": "hero ground -child", "friend": "hero", "helper": "hero"},
    props={"skill": SKILLS, "place": PLACES},
    titles=("{Hero} learns to {skill}", "Once more", "{Hero} tries and tries", "Not yet, said {helper}"),
    beats=(
        (
            "{Friend} could {skill}. {Helper} could {skill}. {Hero.full} could not.",
            "More than anything, {hero.full} wanted to learn to {skill}.",
            "One day {hero.full} saw {helper} {skill.ing}. It looked so easy, and it looked so fine!",
        ),
        (
            "So {hero.he} went {place.to}, where nobody was, and {hero.he} tried. {Skill.first}",
            "\"How hard can it be?\" said {hero}, and {hero.he} tried. {Skill.first}",
            "{Hero} took a deep breath, and tried it for the first time. {Skill.first}",
        ),
        (
            "{Hero.he} tried again. {Skill.second}",
            "After lunch {hero.he} tried once more. {Skill.second}",
            "\"That was only for practice,\" said {hero}. The next try was not any better. {Skill.second}",
        ),
        (
            "{Friend} was watching from the gate. {Friend} did not mean to laugh, but a laugh came out. {Hero} went "
            "red.",
            "\"I cannot do it,\" said {hero}. \"I will never do it. I am the only one in the whole world who cannot.\"",
            "{Hero} was so cross that {hero.he} kicked a stone. Now {hero.his} toe hurt too.",
        ),
        (
            "{Helper} sat down beside {hero.him}. \"You cannot do it yet,\" {helper.he} said. \"Yet is a good word. "
            "Keep it in your pocket.\"",
            "\"Do you know how many times I got it wrong?\" asked {helper}. \"Once?\" said {hero}. \"A hundred "
            "times,\" said {helper}.",
            "{Helper.full} came by. \"That was a good bad try,\" {helper.he} said. \"The best ones come after those.\"",
        ),
        (
            "\"Here is a secret,\" said {helper}. \"{Skill.tip}\"",
            "Then {helper} leaned close to {hero.his} ear. \"{Skill.tip}\"",
            "\"May I tell you what helped me?\" asked {helper}. \"{Skill.tip}\"",
        ),
        (
            "{Hero} practised the next day, and the day after that. {Hero.he} practised in the rain. {Hero.he} "
            "practised in {hero.his} sleep.",
            "{Hero} thought about it. Then {hero.he} got up and tried again, and again, and once more after that.",
            "It was better. It was not good, but it was better, and better is how good begins.",
        ),
        (
            "And one evening, when {hero.he} was not even trying very hard, {skill.done}.",
            "Then, all of a sudden, {skill.done}. {Hero} was so surprised that {hero.he} stopped.",
            "And on the seventh day, just before supper, {skill.done}!",
        ),
        (
            "\"I did it!\" shouted {hero}. \"Did you see? I did it!\" And of course {hero.he} had to show everybody, "
            "twice.",
            "{Friend} was the first to clap. \"Will you teach me to do it like that?\" {friend.he} asked. And {hero} "
            "said yes.",
            "{Hero} took the word yet out of {hero.his} pocket. {Hero.he} did not need it any more, so {hero.he} "
            "gave it to {friend}, who was learning to [swim|spell|cook].",
            "That night {hero} lay in bed and smiled at the dark. \"Tomorrow,\" {hero.he} said, \"I will learn "
            "something else.\"",
        ),
    ),
)

HIDING = Shape(
    "hide and seek",
    cast={"hero": "hero", "friend": "hero", "other": "hero"},
    props={"place": PLACES},
    titles=("Hide and seek", "Where is {hero}?", "{Hero} hides too well", "Ready or not"),
    beats=(
        (
            "\"I will count,\" said {friend.full}, and {friend.he} put {friend.his} face against a tree. {Hero.full} "
            "ran to hide.",
            "They were playing hide and seek {place.at}: {hero.full}, {friend} and {other}. It was {friend}'s turn "
            "to seek.",
            "\"Nobody can find me,\" said {hero.full}, \"not when I really hide.\" \"Let us see,\" said {friend}, "
            "and {friend.he} began to count.",
        ),
        (
            "{Hero} did not hide behind the tree. Everybody hides behind the tree. {Hero.he} crept into an old "
            "barrel and pulled leaves over the top.",
            "{Hero} found the best place of all. It was in the hay, deep down, where it was warm and dim and smelled "
            "of summer.",
            "There was a big basket full of washing. {Hero} got in, and put a sheet over {hero.his} head, and kept "
            "as still as a sock.",
        ),
        (
            "\"Ready or not!\" called {friend}. {Hero} heard {friend.him} run by. {Hero.he} put a {hero.hand} over "
            "{hero.his} mouth so as not to giggle.",
            "First {friend} found {other}, who had sneezed. But {friend.he} did not find {hero}.",
            "{Friend} looked here, and {friend.he} looked there. Twice {friend.he} was so close that {hero} could "
            "hear {friend.him} breathe.",
        ),
        (
            "It was nice in there. It was warm. {Hero} shut {hero.his} eyes, only for a moment.",
            "After a while {hero} yawned. Nobody came. {Hero.he} yawned again, and then {hero.he} did not yawn, "
            "because {hero.he} was asleep.",
        ),
        (
            "\"You win!\" called {friend}. \"You can come out now!\" Nobody came out.",
            "\"{Hero}!\" called {friend} and {other}. \"We give up!\" But it was very quiet, and the sun was going "
            "down.",
            "\"This is not fun any more,\" said {other}, in a small voice.",
        ),
        (
            "They looked in the brook. They looked down the well. \"What if {hero.he} hid so well that {hero.he} hid "
            "from {hero.himself}?\" said {other}.",
            "They called all of the neighbors. Everybody looked, with lanterns and with spoons. I do not know why "
            "they had spoons.",
            "{Friend} sat down on the ground. \"I should have counted more slowly,\" {friend.he} said, and "
            "{friend.he} began to cry.",
        ),
        (
            "Then {other} said, \"Hush.\" They all hushed. From somewhere close by there came a snore.",
            "Just then something moved, very softly, up and down, up and down. It was breathing!",
            "\"Listen,\" said {friend}. \"Who is sawing wood?\" \"Nobody saws wood at night,\" said {other}. They "
            "both turned around.",
        ),
        (
            "And there was {hero}, curled up like a nut. \"Did I win?\" {hero.he} asked, with one eye open.",
            "\"Is it my turn to count?\" asked {hero}, and {hero.he} rubbed {hero.his} eyes. They were so glad that "
            "they all talked at once.",
            "{Hero} sat up and yawned. \"What is everybody looking for?\" {hero.he} asked. \"You!\" they said.",
        ),
        (
            "\"You won,\" said {friend}. \"But next time, {hero}, please hide a little worse.\"",
            "The next day they played again. {Hero} hid behind the tree, and {friend} found {hero.him} at once, and "
            "it was lovely to be found.",
            "They carried {hero} home, and {hero.he} slept all the way, and that was the end of the game.",
        ),
    ),
)

VISIT = Shape(
    "a visit",
    cast={"hero": "hero little ground", "first": "animal", "second": "animal", "helper": "hero"},
    props={"place": PLACES},
    titles=("{Hero} goes to see Grandma", "The basket", "Six warm buns", "A long way with a basket"),
    beats=(
        (
            "{Hero}'s grandma lived on the far side of {place}. One day {hero.his} mama gave {hero.full} a basket "
            "with six warm buns. \"Take these to her,\" she said.",
            "\"Grandma has a cold,\" said {hero}'s mama. She put six buns in a basket and a cloth over the top. "
            "\"{Hero}, can you go all by yourself?\"",
            "It was the first time that {hero.full} had gone to Grandma's alone. {Hero.he} had six buns in a basket, "
            "and {hero.he} knew the way by heart.",
        ),
        (
            "{Hero.he} counted the buns as {hero.he} walked. One, two, three, four, five, six. They smelled so good "
            "that {hero.he} walked faster.",
            "The road was long, and the basket was heavy. {Hero} carried it on this side, and then {hero.he} carried "
            "it on that side.",
            "\"I will not stop,\" {hero} told {hero.himself}, \"and I will not look at the frogs.\" {Hero.he} did "
            "look at one frog.",
        ),
        (
            "By the gate {hero.he} met {first}. \"I have walked since dawn,\" said {first}, \"and I am so hungry.\" "
            "{Hero} thought, and gave {first.him} a bun.",
            "{First.full} was sitting by the road. {First.his} hat had blown away, and {first.his} lunch had been in "
            "it. So {hero} gave {first.him} a bun.",
            "\"What smells so good?\" said {first}. \"It is for my grandma,\" said {hero}. But {hero.he} could see "
            "that {first} had eaten no breakfast, and now there were five.",
        ),
        (
            "At the bridge there was {second}, and {second.he} had three little ones with {second.him}. Three little "
            "ones need three buns. Now there were two.",
            "A bit farther on {hero.he} met {second}. \"It is my birthday,\" said {second}, \"and I have two guests "
            "and no cake.\" {Hero} put a daisy on each of three buns. Those were the cakes.",
            "{Second} was mending the road with two friends. It was hard, hot work. \"Have a bun, all three of "
            "you,\" said {hero}, before {second} had said a word.",
        ),
        (
            "On the hill {hero} tripped on a root. One bun rolled out, and down it went, and a duck said thank you.",
            "Then it began to drizzle, and {hero} covered the basket with {hero.his} own coat. {Helper} saw it. "
            "\"Take half of my umbrella,\" said {helper}. So {helper} had a bun.",
            "{Helper} walked a part of the way with {hero.him} and told {hero.him} a joke about a goose. {Hero} gave "
            "{helper.him} a bun for it.",
        ),
        (
            "When {hero} came to the door, there was only one bun left, and {hero.he} began to cry. \"I gave them "
            "away, Grandma,\" {hero.he} said.",
            "At last {hero.he} knocked. \"Come in!\" said Grandma. {Hero} looked into the basket, and {hero.his} "
            "face fell. There was hardly anything in it.",
        ),
        (
            "Grandma took {hero} on her lap. \"Whom did you give them to?\" she asked. And when she had heard it "
            "all, she said, \"Then they went to the right place.\"",
            "\"Dear me,\" said Grandma. \"What would I do with six? I have only the one mouth.\" And she cut the bun "
            "in two.",
        ),
        (
            "There was a knock at the door. It was {first}, with a jar of honey. Then {second} came, with a pot of "
            "soup, and it was a party.",
            "Just then somebody called from outside. There stood {first} and {second} and {helper}. \"We heard that "
            "somebody here has a cold,\" they said. They had brought everything.",
            "They ate it by the window and looked at the rain, and Grandma said it was the best half of a bun in her "
            "whole life.",
        ),
        (
            "When {hero} walked home, the basket was full. It was full of [pears|flowers|eggs], and it did not feel "
            "heavy at all.",
            "\"Well?\" said {hero}'s mama that night. \"How did it go?\" \"It went slowly,\" said {hero}, \"but it "
            "went everywhere.\"",
            "Grandma's cold was gone by morning. She said it was the bun. But I think that it was {hero}.",
        ),
    ),
)

SHAPES = (RAIN, SNOW, STUCK, HIGH, FOG, SEED, LEARNING, HIDING, VISIT)
