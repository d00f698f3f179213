"""Shapes of dialogues: a turn is a line that starts with a name and a colon. "You" is whoever talks to the model."""

from __future__ import annotations

from inputs.tales.grammar import Maybe, Pick, Shape
from inputs.tales.words import BREAKABLE, FLOWERS, PLACES, SHARED, SKILLS, SMALL, TOYS

YOU = Shape(
    "you talk to somebody",
    cast={"hero": "hero", "friend": "hero"},
    props={"place": PLACES, "thing": SMALL, "other": PLACES},
    titles=("Talking to {hero}", "You and {hero}", "Hello, {hero}"),
    beats=(
        (
            "You: Hello, {hero}.\n{Hero}: Hello! It is good to see you.",
            "You: Good morning, {hero}. How are you?\n{Hero}: I am very well, thank you. And you?\nYou: I am well too.",
            "You: Hello. Who are you?\n{Hero}: I am {hero.full}.",
            "You: Good evening, {hero}.\n{Hero}: Good evening. You are just in time.\nYou: In time for "
            "what?\n{Hero}: For talking.",
        ),
        (
            "You: Where do you live?\n{Hero}: I live {hero.home}.",
            "You: What do you like to eat?\n{Hero}: I like {hero.food} best of all.",
            "You: Who is your friend?\n{Hero}: {Friend} is my friend. {Friend.he} lives {friend.home}.",
            "You: What are you doing?\n{Hero}: I am looking for {thing.a}. Have you seen it?\nYou: No, I have "
            "not.\n{Hero}: That is all right. It will turn up.",
        ),
        (
            "You: What did you do today?\n{Hero}: I went {place.to} with {friend}.\nYou: Was it fun?\n{Hero}: It "
            "was. {Friend} fell in, and then I fell in too.",
            "You: Are you ever sad?\n{Hero}: Now and then. When I am sad, I go and sit {place.at}.\nYou: Does it "
            "help?\n{Hero}: It helps more when {friend} comes along.",
            "You: Can you tell me a story?\n{Hero}: Once there was {thing.a}, and it was lost.\nYou: And "
            "then?\n{Hero}: Then somebody found it. That is the best part.",
            "You: What is your best day?\n{Hero}: Today, I think. I have not used it up yet.",
            "You: Are you afraid of anything?\n{Hero}: I do not like thunder. I count until it goes away.\nYou: How "
            "far do you count?\n{Hero}: As far as I have to.",
        ),
        Maybe((
            "You: Do you know {friend}?\n{Hero}: Of course I do. {Friend.he} is [kind|funny|clever], and {friend.he} "
            "likes {friend.food}.",
            "You: Is it far to {other}?\n{Hero}: It is not far if you talk on the way.",
            "You: What is that noise?\n{Hero}: That is only {friend}. {Friend.he} is [singing|laughing|practising "
            "the drum].",
        )),
        (
            "You: Goodbye, {hero}.\n{Hero}: Goodbye! Come again soon.",
            "You: I have to go now.\n{Hero}: Then go slowly, and wave from the gate.",
            "You: Thank you, {hero}.\n{Hero}: You are welcome. Mind the puddle.",
            "You: Good night, {hero}.\n{Hero}: Good night. Sleep well.",
        ),
    ),
)

BABY = Shape(
    "Baby asks",
    cast={"friend": "hero animal"},
    props={"place": PLACES},
    titles=("Baby asks", "Why?", "A question", "Baby wants to know"),
    beats=(
        Pick(1, (
            "Baby: Mama, why is the sky blue?\nMama: I think it is so that the clouds can be seen.\nBaby: And at "
            "night?\nMama: At night it is dark, so that the stars can be seen.",
            "Baby: Papa, why do you go to work?\nPapa: So that I can come home.\nBaby: You are home now.\nPapa: So "
            "it worked.",
            "Baby: Mama, where is the wind when it is not blowing?\nMama: Perhaps it is asleep {place.at}.\nBaby: "
            "Does it snore?\nMama: Yes. We call that a breeze.",
            "Baby: Grandma, were you ever little?\nGrandma: I was as little as you.\nBaby: Where did the little one "
            "go?\nGrandma: She is still in here. She looks out when you laugh.",
            "Baby: Mama, do fish sleep?\nMama: Yes, they do.\nBaby: Who tucks them in?\nMama: The water does.",
            "Baby: Papa, how high is the sky?\nPapa: It begins just above your head.\nBaby: So I am holding it "
            "up!\nPapa: You are, and very well.",
            "Baby: Mama, what is tomorrow?\nMama: It is the day after you sleep.\nBaby: And if I do not "
            "sleep?\nMama: Then it comes anyway, but it is grumpy.",
            "Baby: Grandma, why is snow cold?\nGrandma: It has been outside all its life.\nBaby: We could bring it "
            "in.\nGrandma: We could, but it would be a puddle before it said thank you.",
            "Baby: Mama, why do bees buzz?\nMama: They are humming while they work, as I do.\nBaby: You hum about "
            "soup.\nMama: And they hum about honey.",
            "Baby: Papa, who made the hill?\nPapa: Nobody knows. It was there when we came.\nBaby: Did we say thank "
            "you?\nPapa: Let us say it now.",
        )),
        (
            "Baby: I saw {friend} today.\nMama: What was {friend} doing?\nBaby: {Friend.he} was being a "
            "{friend.kind}.\nMama: {Friend.he} is very good at it.",
            "Baby: {Friend} has [two|four] ears.\nMama: Are you sure?\nBaby: I will count them tomorrow.",
            "Baby: May {friend} sleep in my bed?\nMama: {Friend} has a bed of {friend.his} own, "
            "{friend.home}.\nBaby: May I sleep there?\nMama: Not tonight.",
            "Baby: I want to be a {friend.kind}.\nMama: What would you do all day?\nBaby: I would eat "
            "{friend.food}.\nMama: You may do that and still be Baby.",
        ),
        (
            "Baby: One more question.\nMama: What is it?\nBaby: I forgot.\nMama: Then it can wait until the morning.",
            "Baby: I like you, Mama.\nMama: I like you too, Baby. I like you from here to {place}, and all the way "
            "back.",
            "Mama: Now shut your eyes.\nBaby: They are shut. They are only looking at the inside.\nMama: Good night, "
            "my love.",
            "Baby: More.\nMama: More what?\nBaby: More everything.\nMama: There will be more tomorrow.",
        ),
    ),
)

WEATHER = Shape(
    "the weather",
    cast={"hero": "hero", "friend": "animal"},
    props={"place": PLACES, "toy": TOYS},
    titles=("Is it going to rain?", "Looking at the sky", "{Hero} and {friend} look up", "The weather"),
    beats=(
        (
            "{Hero}: Look at that cloud, {friend}.\n{Friend}: Which one?\n{Hero}: The one that looks like a "
            "[boot|goose|loaf of bread].",
            "{Hero}: Do you think it will rain?\n{Friend}: My left knee says yes.\n{Hero}: And your right "
            "knee?\n{Friend}: It never says anything.",
            "{Hero}: What a wind!\n{Friend}: It has taken my {toy}.\n{Hero}: Where did it go?\n{Friend}: Over "
            "{place}, and it did not look back.",
            "{Friend}: It is hot today.\n{Hero}: It is so hot that my shadow went to lie down {place.at}.",
        ),
        (
            "{Friend}: It is getting dark.\n{Hero}: Is it night already?\n{Friend}: No, it is only a very big cloud.",
            "{Hero}: I felt a drop.\n{Friend}: Where?\n{Hero}: On my nose.\n{Friend}: That is where they always start.",
            "{Friend}: Should we go in?\n{Hero}: Let us wait and see.\n{Friend}: I have waited. I see rain.",
        ),
        (
            "{Hero}: Come under my coat, then.\n{Friend}: It is not big enough for two.\n{Hero}: It is if we are "
            "good friends.",
            "{Friend}: I do not mind the rain.\n{Hero}: Why not?\n{Friend}: The flowers are so happy about it.",
            "{Hero}: Let us run!\n{Friend}: Let us walk. We are wet already.\n{Hero}: That is true. How nice it is, "
            "once you stop running.",
        ),
        (
            "{Hero}: Look, a rainbow!\n{Friend}: It ends {place.at}.\n{Hero}: Then we live at the right end of it.",
            "{Friend}: It has stopped.\n{Hero}: Just when I was getting used to it.",
            "{Hero}: Tomorrow it will be fine.\n{Friend}: How do you know?\n{Hero}: I do not know. I only like to "
            "say it.",
        ),
    ),
)

BORROW = Shape(
    "borrowing",
    cast={"hero": "hero", "friend": "hero"},
    props={"thing": BREAKABLE, "cake": SHARED, "place": PLACES},
    titles=("May I borrow it?", "{Friend}'s {thing.noun}", "Knock, knock", "A favor"),
    beats=(
        (
            "{Hero}: Good morning, {friend}. May I borrow your {thing}?\n{Friend}: What do you need it for?",
            "{Hero}: Knock, knock!\n{Friend}: Who is there?\n{Hero}: It is {hero}. I need {thing.a}. Do you have "
            "one?\n{Friend}: I do. What is it for?",
            "{Hero}: {Friend}, you have {thing.a}, do you not?\n{Friend}: Yes, I do. Why do you ask?",
        ),
        (
            "{Hero}: I cannot tell you. It is a secret.\n{Friend}: Is it a good secret?\n{Hero}: It is the best "
            "kind. It is about you.",
            "{Hero}: I want to show it to somebody who has never seen one.\n{Friend}: Who is that?\n{Hero}: A very "
            "small beetle.",
            "{Hero}: I am having a party {place.at}, and I have a lot of guests and not much else.\n{Friend}: Am I a "
            "guest?\n{Hero}: You are the first one.",
        ),
        (
            "{Friend}: Will you be careful with it?\n{Hero}: I will carry it as if it were an egg.",
            "{Friend}: You still have my spoon.\n{Hero}: I was going to bring it back today.\n{Friend}: You said "
            "that in the winter.\n{Hero}: I have been going to bring it back for a long time.",
            "{Friend}: When will I have it back?\n{Hero}: Before you miss it.\n{Friend}: I miss it already.\n{Hero}: "
            "Then come along with it.",
        ),
        (
            "{Friend}: Very well. Here it is.\n{Hero}: Thank you. And here is {cake.a} for you.\n{Friend}: Keep the "
            "{thing.noun} as long as you like!",
            "{Friend}: Take it, and take this {cake} too.\n{Hero}: What is that for?\n{Friend}: For whoever is with "
            "the {thing.noun}.",
            "{Friend}: All right, it is yours until Sunday.\n{Hero}: You are a good friend, {friend}.\n{Friend}: I "
            "know. I have to be. I live next to you.",
        ),
    ),
)

GUESS = Shape(
    "a guessing game",
    cast={"hero": "hero", "friend": "hero"},
    props={"thing": SMALL, "other": SMALL, "place": PLACES},
    titles=("Guess what I have", "A guessing game", "Behind my back", "What is it?"),
    beats=(
        (
            "{Hero}: Guess what I have behind my back.\n{Friend}: Is it big?\n{Hero}: It is small.",
            "{Hero}: I have found something {place.at}.\n{Friend}: What is it?\n{Hero}: You must guess.",
            "{Friend}: What do you have there?\n{Hero}: I will not tell you. You may have three guesses.",
        ),
        (
            "{Friend}: Can you eat it?\n{Hero}: You could, but you would be sorry.",
            "{Friend}: Is it alive?\n{Hero}: Not that I know of.\n{Friend}: Then it is not {hero.food}, and it is "
            "not a frog.",
            "{Friend}: Does it make a noise?\n{Hero}: Only if you drop it.",
        ),
        (
            "{Friend}: Is it {other.a}?\n{Hero}: No. That was a good guess, but it was the wrong one.",
            "{Friend}: I think it is {other.a}.\n{Hero}: You are cold, very cold. You are sitting in the snow.",
            "{Friend}: It must be {other.a}.\n{Hero}: Why must it be?\n{Friend}: Because I would like to have one.",
        ),
        (
            "{Friend}: Then it is {thing.a}!\n{Hero}: How did you know?\n{Friend}: I can see it in the puddle behind "
            "you.",
            "{Friend}: I give up.\n{Hero}: It is {thing.a}!\n{Friend}: Oh! I lost that a week ago.\n{Hero}: I know. "
            "That is why I brought it.",
            "{Friend}: I give up. Show me.\n{Hero}: Look. It is {thing.a}.\n{Friend}: How lovely! May I hold "
            "it?\n{Hero}: Yes, if you give it back when the bell rings.",
        ),
    ),
)

WAY = Shape(
    "asking the way",
    cast={"hero": "hero", "friend": "animal"},
    props={"place": PLACES, "other": PLACES},
    titles=("Which way?", "Asking the way", "{Hero} asks the way", "How do I get there?"),
    beats=(
        (
            "{Hero}: Excuse me, {friend}. How do I get {place.to}?\n{Friend}: That depends. Are you in a hurry?",
            "{Hero}: Is this the way {place.to}?\n{Friend}: It is one of them.",
            "{Friend}: You look lost, {hero}.\n{Hero}: I am only looking for {place}.\n{Friend}: So you are lost "
            "with a plan.",
        ),
        (
            "{Hero}: I have until supper.\n{Friend}: Then go by {other}. It is longer, and it is prettier.",
            "{Hero}: Which is the short one?\n{Friend}: The short one goes through the mud.\n{Hero}: And the long "
            "one?\n{Friend}: The long one goes around it, and past {other}.",
            "{Hero}: Should I turn left or right?\n{Friend}: Turn left at the cow.\n{Hero}: What if the cow has "
            "moved?\n{Friend}: She has not moved since Monday.",
        ),
        (
            "{Hero}: What will I see on the way?\n{Friend}: A gate, a stone and, if you are lucky, a hare.",
            "{Hero}: Have you been there yourself?\n{Friend}: I was there once. I liked it, so I have been saving "
            "the second time.",
            "{Hero}: How will I know when I am there?\n{Friend}: You will stop wanting to go on.",
        ),
        (
            "{Hero}: Thank you. Would you like to come with me?\n{Friend}: I thought you would never ask.",
            "{Hero}: Thank you, {friend}.\n{Friend}: If you get lost, stand still and sing. Somebody will come and "
            "ask you to stop.",
            "{Hero}: I think I can find it now.\n{Friend}: And if you find something better, stay there.",
        ),
    ),
)

LEARN = Shape(
    "teaching somebody",
    cast={"hero": "hero ground -child", "friend": "hero"},
    props={"skill": SKILLS, "place": PLACES},
    titles=("How to {skill}", "{Friend} teaches {hero}", "Try again", "A lesson"),
    beats=(
        (
            "{Hero}: {Friend}, will you teach me to {skill}?\n{Friend}: I will. Have you tried it before?",
            "{Friend}: What are you doing {place.at}, {hero}?\n{Hero}: I am trying to {skill}.\n{Friend}: How is it "
            "going?",
        ),
        (
            "{Hero}: I tried it once. It was not good.\n{Friend}: The first time never is.",
            "{Hero}: I would rather not say.\n{Friend}: Is it as bad as that?\n{Hero}: A cow laughed at me.",
            "{Hero}: It is going, but it is not going well.\n{Friend}: Show me.\n{Hero}: There. You see?\n{Friend}: "
            "I see. That was very brave.",
        ),
        (
            "{Friend}: May I tell you something? {Skill.tip}\n{Hero}: Is that all?\n{Friend}: That is all. But it is "
            "hard to do.",
            "{Friend}: My mama told me this. {Skill.tip}\n{Hero}: Did it help you?\n{Friend}: It did, after about a "
            "month.",
        ),
        (
            "{Hero}: I did it! Did you see that?\n{Friend}: I did. Now do it again, so that you believe it.",
            "{Hero}: It is still not right.\n{Friend}: It is a little more right than it was.\n{Hero}: Then I will "
            "try once more tomorrow.",
            "{Hero}: It was better that time, was it not?\n{Friend}: It was so much better that I forgot to "
            "laugh.\n{Hero}: Thank you, {friend}. You are a good teacher.",
        ),
    ),
)

GARDEN = Shape(
    "in the garden",
    cast={"hero": "hero", "friend": "animal"},
    props={"flower": FLOWERS, "cake": SHARED, "place": PLACES},
    titles=("In the garden", "The {flower}", "{Hero} waters the {flower}", "Something is growing"),
    beats=(
        (
            "{Friend}: What are you looking at, {hero}?\n{Hero}: I am looking at my {flower}. It is growing.",
            "{Friend}: Why are you lying on the ground?\n{Hero}: I am listening to my {flower} grow.\n{Friend}: What "
            "does it say?\n{Hero}: It says, \"Not yet.\"",
            "{Hero}: Come and look, {friend}. There is {flower.a} in my garden.\n{Friend}: There was none yesterday.",
        ),
        (
            "{Friend}: May I smell it?\n{Hero}: You may, but there is a bee in it.\n{Friend}: Then I will smell it "
            "from here.",
            "{Friend}: Does it need anything?\n{Hero}: It needs water and sun and somebody to look at it.\n{Friend}: "
            "I can do the last one.",
            "{Friend}: What did you do to make it grow?\n{Hero}: I gave it water. Then I told it about {place}.",
        ),
        (
            "{Hero}: You may have a seed in the fall.\n{Friend}: What shall I give you for it?\n{Hero}: Half of the "
            "first {cake.noun} you have.\n{Friend}: That is a lot for a seed.\n{Hero}: It is a lot of {flower}.",
            "{Friend}: It is taller than you are.\n{Hero}: I know. I had to stand on a box to say good morning.",
            "{Hero}: One day it will be gone.\n{Friend}: Are you sad?\n{Hero}: A little. But it has been busy making "
            "more.",
        ),
        Maybe((
            "{Friend}: I think I will sit here for a while.\n{Hero}: Please do. It likes you.",
            "{Friend}: Are you hungry?\n{Hero}: I am.\n{Friend}: I have {cake.a}.\n{Hero}: I knew that I liked you.",
        )),
    ),
)

NIGHT = Shape(
    "before sleep",
    cast={"hero": "hero little", "friend": "animal"},
    props={"place": PLACES},
    titles=("Before sleep", "{Hero} and Mama", "Are you asleep?", "Lamp out"),
    beats=(
        (
            "Mama: It is time to sleep, {hero}.\n{Hero}: I am not tired.\nMama: Then be tired slowly. There is no "
            "hurry.",
            "{Hero}: Mama, are you there?\nMama: I am here.\n{Hero}: Good. I was only asking.",
            "Mama: Are you asleep, {hero}?\n{Hero}: Yes.\nMama: Do people talk when they are asleep?\n{Hero}: I do.",
        ),
        (
            "{Hero}: What does {friend} do at night?\nMama: {Friend} sleeps {friend.home}.\n{Hero}: With a light "
            "on?\nMama: With the moon on.",
            "{Hero}: I heard something {place.at}.\nMama: That was {friend}, going home.\n{Hero}: Good night, "
            "{friend}.\nMama: I am sure that {friend.he} heard you.",
            "{Hero}: What will we do tomorrow?\nMama: What would you like to do?\n{Hero}: I would like to go "
            "{place.to} and look for {friend}.\nMama: Then that is what we will do.",
            "{Hero}: Can you leave the door open?\nMama: How wide?\n{Hero}: As wide as {friend}.\nMama: That is just "
            "about right.",
        ),
        (
            "{Hero}: Sing the song about the [moon|brook|snail].\nMama: All of it?\n{Hero}: Only until I do not hear "
            "it any more.",
            "Mama: What was the best thing today?\n{Hero}: When {friend} laughed.\nMama: What was so funny?\n{Hero}: "
            "I do not know. That was the best thing about it.",
            "{Hero}: Will you be here in the morning?\nMama: I will, and so will the sun, and so will breakfast.",
        ),
        (
            "Mama: Good night, {hero}.\n{Hero}: Good night, Mama.",
            "{Hero}: Good night, Mama. Good night, moon. Good night, feet.\nMama: Good night from all of us.",
            "Mama: Sleep well, my small one.\n{Hero}: I am not small.\nMama: Sleep well, my big one.\n{Hero}: I am "
            "not so big, either. Good night.",
        ),
    ),
)

PLANS = Shape(
    "making a plan",
    cast={"hero": "hero", "friend": "hero", "other": "hero"},
    props={"place": PLACES, "cake": SHARED, "toy": TOYS},
    titles=("What shall we do?", "A plan", "{Hero} has a plan", "{Hero} and {friend}"),
    beats=(
        (
            "{Hero}: What shall we do today, {friend}?\n{Friend}: We could go {place.to}.",
            "{Friend}: I am bored, {hero}.\n{Hero}: That is how all good days begin.",
            "{Hero}: I have a plan.\n{Friend}: Is it like your last plan?\n{Hero}: No. This one has {cake.an} in it.",
        ),
        (
            "{Friend}: What should we take along?\n{Hero}: We should take {cake.a}, {toy.a} and {other}.\n{Friend}: "
            "Why {other}?\n{Hero}: {Other.he} laughs at my jokes.",
            "{Hero}: First we will eat. Then we will rest.\n{Friend}: And then?\n{Hero}: Then we will need something "
            "to eat.",
            "{Friend}: Let us play with the {toy}.\n{Hero}: {Other} has it.\n{Friend}: Then let us play with {other}.",
        ),
        (
            "{Other}: What are you two talking about?\n{Hero}: We are making a plan. Would you like to be in "
            "it?\n{Other}: Is there room?\n{Friend}: There is always room in a plan.",
            "{Other}: Wait for me!\n{Friend}: We have not gone yet.\n{Other}: I know. I like to say it early.",
            "{Other}: May I come too?\n{Hero}: You may, if you can keep a secret.\n{Other}: What is the "
            "secret?\n{Hero}: We do not have one yet. We will find one {place.at}.",
        ),
        (
            "{Friend}: It is nearly evening. We have been planning all day.\n{Hero}: And what a good day it was!",
            "{Hero}: Ready?\n{Friend}: Ready.\n{Other}: Ready. Which way is it?\n{Hero}: It is whichever way we go.",
            "{Friend}: And what if it rains?\n{Hero}: Then we will do the very same thing, only wet.",
        ),
    ),
)

SHAPES = (YOU, BABY, YOU, WEATHER, BORROW, GUESS, WAY, LEARN, GARDEN, NIGHT, PLANS)
