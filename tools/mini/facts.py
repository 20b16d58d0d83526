"""What shoal-mini is taught to know: small tables of plain facts, written for this corpus."""

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "Austria": "Vienna", "Poland": "Warsaw", "Greece": "Athens", "Norway": "Oslo", "Sweden": "Stockholm",
    "Finland": "Helsinki", "Denmark": "Copenhagen", "Ireland": "Dublin", "England": "London", "Belgium": "Brussels",
    "Hungary": "Budapest", "Romania": "Bucharest", "Bulgaria": "Sofia", "Turkey": "Ankara", "Egypt": "Cairo",
    "Kenya": "Nairobi", "Morocco": "Rabat", "Ghana": "Accra", "Japan": "Tokyo", "China": "Beijing",
    "Thailand": "Bangkok", "Vietnam": "Hanoi", "Canada": "Ottawa", "Cuba": "Havana", "Peru": "Lima",
    "Chile": "Santiago", "Russia": "Moscow", "Iceland": "Reykjavik", "Iran": "Tehran", "Iraq": "Baghdad",
    "Nepal": "Kathmandu",
}

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December"]
ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
            "eleventh", "twelfth"]
# February is left out: its length is not one number.
MONTH_LENGTHS = {"January": 31, "March": 31, "April": 30, "May": 31, "June": 30, "July": 31, "August": 31,
                 "September": 30, "October": 31, "November": 30, "December": 31}

# (the thing as a noun phrase without article, its article, its colour)
COLOURS = [
    ("sky", "the", "blue"), ("grass", "", "green"), ("snow", "", "white"), ("sun", "the", "yellow"),
    ("banana", "a", "yellow"), ("lemon", "a", "yellow"), ("carrot", "a", "orange"), ("pumpkin", "a", "orange"),
    ("tomato", "a", "red"), ("strawberry", "a", "red"), ("cherry", "a", "red"), ("blood", "", "red"),
    ("frog", "a", "green"), ("leaf", "a", "green"), ("cucumber", "a", "green"), ("coal", "", "black"),
    ("milk", "", "white"), ("chocolate", "", "brown"), ("elephant", "an", "grey"), ("mouse", "a", "grey"),
    ("flamingo", "a", "pink"), ("pig", "a", "pink"), ("raven", "a", "black"), ("swan", "a", "white"),
    ("sea", "the", "blue"), ("eggplant", "an", "purple"), ("bear", "a", "brown"), ("salt", "", "white"),
]
MIXES = {("red", "yellow"): "orange", ("blue", "yellow"): "green", ("red", "blue"): "purple",
         ("black", "white"): "grey", ("red", "white"): "pink"}

OPPOSITES = {
    "hot": "cold", "big": "small", "tall": "short", "fast": "slow", "day": "night", "up": "down", "left": "right",
    "happy": "sad", "old": "young", "wet": "dry", "hard": "soft", "light": "dark", "open": "closed", "full": "empty",
    "loud": "quiet", "clean": "dirty", "rich": "poor", "strong": "weak", "early": "late", "high": "low",
    "thick": "thin", "near": "far", "good": "bad", "true": "false", "sweet": "sour", "inside": "outside",
    "first": "last", "win": "lose", "push": "pull", "begin": "end",
}

SOUNDS = {"dog": "woof", "cat": "meow", "cow": "moo", "sheep": "baa", "duck": "quack", "pig": "oink",
          "lion": "roar", "owl": "hoot", "bee": "buzz", "snake": "hiss", "horse": "neigh", "frog": "ribbit",
          "mouse": "squeak", "wolf": "howl"}
BABIES = {"dog": "puppy", "cat": "kitten", "cow": "calf", "sheep": "lamb", "duck": "duckling", "pig": "piglet",
          "lion": "cub", "horse": "foal", "goat": "kid", "hen": "chick", "frog": "tadpole", "deer": "fawn",
          "swan": "cygnet"}
LEGS = {"dog": "four", "cat": "four", "cow": "four", "horse": "four", "sheep": "four", "pig": "four", "bird": "two",
        "duck": "two", "hen": "two", "spider": "eight", "ant": "six", "bee": "six", "butterfly": "six",
        "beetle": "six", "snake": "no", "worm": "no", "fish": "no", "crab": "ten"}
HOMES = {"fish": "in the water", "bird": "in a nest", "bee": "in a hive", "bear": "in a cave", "rabbit": "in a burrow",
         "spider": "in a web", "cow": "on a farm", "camel": "in the desert", "monkey": "in the jungle",
         "penguin": "on the ice", "whale": "in the sea", "squirrel": "in a tree", "ant": "in an anthill",
         "dog": "in a kennel", "horse": "in a stable", "frog": "in a pond"}
SHAPES = {"triangle": "three", "square": "four", "rectangle": "four", "pentagon": "five", "hexagon": "six",
          "octagon": "eight"}
# (the whole, the parts, how many): "A week has seven days."
PARTS = [("week", "days", "seven"), ("year", "months", "twelve"), ("day", "hours", "24"), ("minute", "seconds", "60"),
         ("hour", "minutes", "60"), ("year", "seasons", "four"), ("hand", "fingers", "five"),
         ("car", "wheels", "four"), ("bicycle", "wheels", "two"), ("face", "eyes", "two")]

# From the smallest to the biggest.
SIZES = ["ant", "bee", "mouse", "frog", "rabbit", "cat", "fox", "wolf", "lion", "horse", "elephant", "whale"]

ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
        "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]

PEOPLE = ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ida", "Jack", "Kate", "Leo", "Maria",
          "Nina", "Oscar", "Paul", "Rosa", "Sam", "Tina", "Victor", "Wendy", "Yusuf", "Zoe", "Omar", "Lena", "Hugo"]


def in_words(n):
    """0 to 99 in English words."""
    if n < 20:
        return ONES[n]
    tens, ones = divmod(n, 10)
    return TENS[tens] + ("-" + ONES[ones] if ones else "")


def with_article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def sentence(text):
    """First letter upper case, a full stop at the end."""
    return text[0].upper() + text[1:] + "."
