"""Who speaks and what: voices for training and for holding out, function words, our own sentences. Standard library only."""

TRAIN_VOICES = (
    " m1 m2 m3 m4 m5 m6 m8 f1 f2 f3 f4 klatt klatt2 klatt3 klatt6 adam Alex Alicia Andrea Andy Annie belinda benjamin boris caleb"
    " david ed edward Gene grandma grandpa gustave Henrique Hugo iven iven2 Jacky john Lee linda Marco marcelo max Michael michel"
    " miguel Mike norbert pablo paul pedro quincy rob robert sandro shelby steph travis victor zac whisper croak antonio kaukovalta"
).split(" ")  # the first is "": the plain voice
HELD_OUT_VOICES = "m7 f5 klatt4 anika steph2 Diogo aunty".split()
ENGLISH = ["en-us", "en-us", "en", "en-gb-scotland", "en-gb-x-rp"]

FUNCTION_WORDS = (
    "the a of and to in is you that it he was for on are as with his they I at be this have from or one had by but not what all were"
    " we when your can said there use an each which she do how their if will up other about out many then them these so some her"
    " would make like him into time has look two more write go see number no way could people my than first been call who oil its"
    " now find long down day did get come made may part over"
).split()

LABIALS = "p b m f v".split()
CONSONANTS = "p b m f v T D t d n l s z S Z tS dZ k g N h r w j".split()
VOWELS = ["i:", "I", "E", "a", "aa", "A:", "0", "V", "U", "u:", "oU", "eI", "aI", "aU", "3:", "@", "O:", "OI"]

OTHER_LANGUAGES = {
    "de": [
        "Guten Morgen, wie geht es Ihnen heute? Wir fahren morgen mit dem Zug nach München.",
        "Über die Brücke läuft ein müder Hund, und alle freuen sich auf den Frühling.",
        "Pauls Papa baut im Februar ein Boot aus Pappe, aber meine Mama mag es nicht.",
    ],
    "fr": [
        "Bonjour, je voudrais vous parler de la nouvelle voiture que nous avons vue hier.",
        "Une bonne idée peut changer beaucoup de choses dans la vie d'un homme.",
    ],
    "es": [
        "Buenos días, me gustaría hablar con usted sobre el problema que tuvimos ayer.",
        "La familia vive en una casa pequeña cerca del puerto y del mercado.",
    ],
    "it": [
        "Buongiorno, vorrei parlare con lei della nuova proposta che abbiamo ricevuto.",
        "Il bambino gioca nel giardino mentre la mamma prepara la cena.",
    ],
    "cmn": [
        "大家好，欢迎来到我们的节目，今天我们要谈谈人工智能的发展。",
        "我们都非常喜欢吃苹果和葡萄，明天早上八点半在门口见面吧。",
        "这个问题不难，你慢慢说，我们一起想办法。",
    ],
    "pl": ["Dzień dobry, chciałbym porozmawiać o nowym projekcie, który przygotowaliśmy."],
    "pt-br": ["Bom dia, eu gostaria de falar com você sobre o novo projeto da nossa empresa."],
    "ja": ["おはようございます、きょうはあたらしいプロジェクトについてはなします。"],
    "ru": ["Доброе утро, я хотел бы поговорить с вами о новом проекте нашей компании."],
}

# the quality set: plain spoken English, no sentence in any training text
QUALITY_SENTENCES = [
    "Good morning, everybody, and welcome back to the programme.",
    "My brother Ben bought a map of the mountains before he packed his bag.",
    "Please remember to put the empty bottles by the back door.",
    "We keep the boat in a small bay, about a mile below the bridge.",
    "She asked me where the money came from, and I could not tell her.",
    "The baker opens his shop at six, and by seven the bread is gone.",
    "Perhaps we should move the table nearer to the window.",
    "Five fine fish swam over the shallow reef this afternoon.",
    "I never believed that a paper lamp could be so bright.",
    "Some people prefer apples, but most of my family buys plums.",
    "The river was calm, the air was warm, and nobody was in a hurry.",
    "Could you bring me the blue umbrella when you come home?",
    "A number of problems may appear before the month is over.",
    "They climbed up the steep path and stopped to breathe at the top.",
    "Every evening the old man plays a simple tune on his piano.",
    "Maybe the bus will be late, so let us walk to the museum.",
    "The company promised a better map, a bigger team and more time.",
    "Her voice was very soft, but we heard every word of it.",
    "Bob and Emma built a cabin from timber and a pile of broken bricks.",
    "What a beautiful moon; I wish you could see it from up here.",
    "Keep your hands warm, take a deep breath, and jump.",
    "The children laughed as the puppy rolled over in the mud.",
    "Nothing much happened on Monday, except that the milk ran out.",
    "Push the button, pull the lever, and wait for the bell.",
    "Is it possible to combine both reports by Wednesday morning?",
    "Thousands of birds flew south over the frozen lake.",
    "Mother made pumpkin pie and put a bowl of cream beside it.",
    "You may borrow my bicycle, but be back before supper.",
    "The judge asked three short questions and shook her head.",
    "In the middle of the public park there is a marble fountain.",
    "Sometimes I dream of a house with a big porch and a view of the sea.",
    "Prepare the lamb with pepper, mint and a cup of beans.",
    "We thought that the weather would change, though it never did.",
    "A member of the crew dropped the rope, and the sail came down.",
    "Thank you for your time; I hope to meet you again before spring.",
]
