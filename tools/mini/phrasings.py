"""How people ask: one question template a line, for each intent.

Slots are in braces and are filled by intents.py. Which lines are held out of training is decided by `is_held_out`
from the hash of the line alone, never by hand, so nobody (the author included) can pick the easy ones.
"""

import hashlib
import re

HELD_OUT_SHARE = 6  # one line in six

_TEXT = """
[add]
What is {a} + {b}?
What is {a} plus {b}?
{a} + {b}
{a} + {b} = ?
{a} + {b} =
{a} plus {b}
How much is {a} plus {b}?
How much is {a} + {b}?
Add {a} and {b}.
Add {b} to {a}.
Calculate {a} + {b}.
Calculate {a} plus {b}.
What is the sum of {a} and {b}?
Find the sum of {a} and {b}.
What do you get if you add {a} and {b}?
What does {a} plus {b} make?
What does {a} + {b} equal?
Can you add {a} and {b} for me?
Work out {a} + {b}.
Work out the sum of {a} and {b}.
Compute {a} + {b}.
Compute the sum of {a} and {b}.
Tell me the sum of {a} and {b}.
Tell me what {a} plus {b} is.
Tell me how much {a} + {b} is.
If I have {a} apples and get {b} more, how many do I have?
I have {a} coins and find {b} more. How many coins do I have now?
Give me the total of {a} and {b}.
What is the total of {a} and {b}?
What is {a} and {b} together?
How many are {a} and {b} together?
Solve {a} + {b}.
Please solve {a} plus {b}.
Let us add {a} and {b}.
I need to add {a} and {b}.
{a} and {b} make how much?
Which number is {a} plus {b}?
Which number do I get from {a} + {b}?
Do you know what {a} + {b} is?
[sub]
What is {a} - {b}?
What is {a} minus {b}?
{a} - {b}
{a} - {b} = ?
{a} - {b} =
{a} minus {b}
How much is {a} minus {b}?
How much is {a} - {b}?
Subtract {b} from {a}.
Take {b} away from {a}.
Take {b} from {a}.
Calculate {a} - {b}.
Calculate {a} minus {b}.
What is the difference of {a} and {b}?
Find the difference of {a} and {b}.
What do you get if you take {b} from {a}?
What do you get if you subtract {b} from {a}?
What does {a} minus {b} make?
What does {a} - {b} equal?
Can you subtract {b} from {a} for me?
Work out {a} - {b}.
Work out {a} minus {b}.
Compute {a} - {b}.
Compute the difference of {a} and {b}.
Tell me the difference of {a} and {b}.
Tell me what {a} minus {b} is.
Tell me how much {a} - {b} is.
If I have {a} apples and eat {b}, how many are left?
I have {a} coins and lose {b}. How many coins do I have now?
How many are left if I take {b} from {a}?
What is left of {a} after you take away {b}?
What is {a} less {b}?
What remains when {b} is taken from {a}?
Solve {a} - {b}.
Please solve {a} minus {b}.
I need to subtract {b} from {a}.
Which number is {a} minus {b}?
Which number do I get from {a} - {b}?
Do you know what {a} - {b} is?
[mul]
What is {a} * {b}?
What is {a} times {b}?
{a} * {b}
{a} * {b} = ?
{a} * {b} =
{a} times {b}
How much is {a} times {b}?
How much is {a} * {b}?
Multiply {a} by {b}.
Multiply {a} and {b}.
Calculate {a} * {b}.
Calculate {a} times {b}.
What is the product of {a} and {b}?
Find the product of {a} and {b}.
What do you get if you multiply {a} by {b}?
What does {a} times {b} make?
What does {a} * {b} equal?
Can you multiply {a} by {b} for me?
Work out {a} * {b}.
Work out {a} times {b}.
Compute {a} * {b}.
Compute the product of {a} and {b}.
Tell me the product of {a} and {b}.
Tell me what {a} times {b} is.
Tell me how much {a} * {b} is.
What is {a} multiplied by {b}?
I need to multiply {a} by {b}.
Which number is {a} times {b}?
Which number do I get from {a} * {b}?
Solve {a} * {b}.
Do you know what {a} * {b} is?
[capital]
What is the capital of {x}?
What's the capital of {x}?
What is the capital city of {x}?
Which city is the capital of {x}?
Name the capital of {x}.
Tell me the capital of {x}.
Tell me what the capital of {x} is.
Do you know the capital of {x}?
Can you name the capital of {x}?
Can you tell me the capital of {x}?
I want to know the capital of {x}.
The capital of {x} is which city?
Capital of {x}?
{x}: what is its capital?
What city is the capital of {x}?
{x} has which capital?
Which capital does {x} have?
What capital city does {x} have?
Give me the capital of {x}.
I forgot the capital of {x}. What is it?
What do they call the capital of {x}?
How is the capital of {x} called?
Say the name of the capital of {x}.
[country]
Which country do you find {x} in as its capital?
{x} is which country's capital?
{x}: capital of which country?
Tell me the country with the capital {x}.
Tell me the country whose capital is {x}.
Name the country that has {x} as its capital.
I want to know whose capital {x} is.
What is the country of which {x} is the capital?
The capital {x} belongs to which country?
To which country does the capital {x} belong?
Say which country has the capital {x}.
For which country is {x} the capital?
{x} is the capital of which country?
Which country has {x} as its capital?
What country has the capital {x}?
Of which country is {x} the capital?
{x} is the capital of what?
What country is {x} the capital of?
Name the country whose capital is {x}.
Tell me which country {x} is the capital of.
Do you know which country has the capital {x}?
Which country is {x} the capital of?
Which country has the capital {x}?
Whose capital is {x}?
Which land has its capital in {x}?
Can you tell me whose capital {x} is?
I know that {x} is a capital. Of which country?
Give me the country with the capital {x}.
[day_after]
What day comes after {x}?
Which day comes after {x}?
Which day follows {x}?
What day is after {x}?
What is the day after {x}?
Tell me the day after {x}.
Name the day that follows {x}.
Which day is next after {x}?
After {x} comes which day?
If today is {x}, what day is tomorrow?
Today is {x}. What day is tomorrow?
It is {x} today. Which day is tomorrow?
What day of the week comes right after {x}?
Which day of the week is after {x}?
Can you tell me the day after {x}?
Do you know which day comes after {x}?
Say the day that comes after {x}.
[day_before]
What day comes before {x}?
Which day comes before {x}?
What day is before {x}?
What is the day before {x}?
Tell me the day before {x}.
Name the day that comes before {x}.
Which day is right before {x}?
Before {x} comes which day?
If today is {x}, what day was yesterday?
Today is {x}. What day was yesterday?
It is {x} today. Which day was yesterday?
What day of the week comes right before {x}?
Which day of the week is before {x}?
Can you tell me the day before {x}?
Do you know which day comes before {x}?
Say the day that comes before {x}.
[month_after]
What month comes after {x}?
Which month comes after {x}?
Which month follows {x}?
What is the month after {x}?
Tell me the month after {x}.
Name the month that follows {x}.
Which month is next after {x}?
After {x} comes which month?
If it is {x} now, what is the next month?
What month of the year comes right after {x}?
Can you tell me the month after {x}?
Do you know which month comes after {x}?
Say the month that comes after {x}.
What month is after {x}?
[month_before]
What month comes before {x}?
Which month comes before {x}?
What is the month before {x}?
Tell me the month before {x}.
Name the month that comes before {x}.
Which month is right before {x}?
Before {x} comes which month?
If it is {x} now, what was the last month?
What month of the year comes right before {x}?
Can you tell me the month before {x}?
Do you know which month comes before {x}?
Say the month that comes before {x}.
What month is before {x}?
[month_number]
What is the {x} month of the year?
Which month is the {x} of the year?
Name the {x} month.
Tell me the {x} month of the year.
Which month comes {x} in the year?
What is the name of the {x} month?
Do you know the {x} month of the year?
Can you name the {x} month of the year?
The {x} month of the year is which one?
Say the {x} month of the year.
[month_length]
How many days long is {x}?
How many days make up {x}?
How many days make {x}?
How many days go by in {x}?
How many days can {x} have?
{x}: how many days?
Number of days in {x}?
The month of {x} has how many days?
How many days has the month {x}?
How many days has {x}?
How many days has {x} got?
How long is the month of {x}?
How long does {x} last?
How long does the month {x} last?
Give me the number of days in {x}.
Give me the length of {x} in days.
What is the length of {x} in days?
Tell me the number of days in {x}.
Tell me how long {x} is.
I want to know how many days {x} has.
Name the number of days of {x}.
Do you know how long {x} is?
Do you know the number of days in {x}?
On which day does {x} end? Tell me its number of days.
How many days does {x} have?
How many days are in {x}?
How many days are there in {x}?
How long is {x}?
Tell me how many days {x} has.
What is the number of days in {x}?
Do you know how many days {x} has?
Count the days in {x}.
{x} has how many days?
Say how many days are in {x}.
Can you tell me how many days {x} has?
[colour]
What colour is {ax}?
Which colour is {ax}?
What is the colour of {ax}?
Tell me the colour of {ax}.
Tell me what colour {ax} is.
What colour does {ax} have?
Do you know the colour of {ax}?
Name the colour of {ax}.
Can you tell me the colour of {ax}?
{Ax} has what colour?
Say what colour {ax} is.
Which colour does {ax} have?
I want to know the colour of {ax}.
Do you know what colour {ax} is?
If I paint {ax}, which colour do I need?
How would you describe the colour of {ax}?
Give me the colour of {ax}.
[mix]
What do {a} and {b} make?
What do {a} and {b} give?
What colour comes out of {a} and {b}?
What colour is {a} mixed with {b}?
What colour is a mix of {a} and {b}?
What is a mix of {a} and {b}?
Which colour is a mix of {a} and {b}?
Which colour do {a} and {b} make?
Which colour do {a} and {b} give together?
Which colour results from {a} and {b}?
{a} and {b} make which colour?
{a} and {b} mixed is what?
{a} plus {b} paint: which colour?
Tell me the mix of {a} and {b}.
Tell me which colour {a} and {b} make.
I have {a} paint and {b} paint. What do I get?
I put {a} paint into {b} paint. What comes out?
When I mix {a} with {b}, what comes out?
If you mix {a} and {b}, what do you get?
Mixing {a} and {b} gives what?
Can you mix {a} and {b} for me?
What happens if {a} and {b} are mixed?
What do you get if you mix {a} and {b}?
What colour do {a} and {b} make?
Which colour do you get from {a} and {b}?
What happens when I mix {a} and {b}?
Mix {a} and {b}. What colour is it?
I mix {a} and {b}. Which colour do I get?
What is {a} mixed with {b}?
Tell me what {a} and {b} make.
Which colour comes from mixing {a} and {b}?
If I mix {a} with {b}, what colour do I get?
What does {a} and {b} paint make together?
Do you know which colour {a} and {b} make?
[opposite]
Which word is opposite to {x}?
What word is opposite to {x}?
What is opposite to {x}?
What is the contrary of {x}?
Tell me a word that means the opposite of {x}.
I want to know the opposite of {x}.
I am looking for the opposite of {x}.
Let me know the opposite of {x}.
Please give the opposite of {x}.
Do you know a word for the opposite of {x}?
If it is not {x}, what is it?
What do you call the opposite of {x}?
How do you call the opposite of {x}?
{x} has which opposite?
{x}: what is the opposite?
{x} is the opposite of what?
What is the opposite of {x}?
What's the opposite of {x}?
Tell me the opposite of {x}.
Name the opposite of {x}.
Which word is the opposite of {x}?
Do you know the opposite of {x}?
Give me the opposite of {x}.
What word means the opposite of {x}?
Can you tell me the opposite of {x}?
I need the opposite of {x}.
The opposite of {x} is what?
Say the opposite of {x}.
Not {x}, but the opposite: what is it?
If something is not {x} but the opposite, what is it?
Find the opposite of {x}.
Opposite of {x}?
What would be the opposite of {x}?
[sound]
Which sound comes from {ax}?
What sound comes from {ax}?
What sound do you hear from {ax}?
Which sound do you hear from {ax}?
{Ax} says what?
{Ax} makes which sound?
What would {ax} say?
How does {ax} talk?
How does {ax} cry?
Imitate {ax}.
Speak like {ax}.
Please make the noise of {ax}.
Tell me the noise of {ax}.
If I meet {ax}, what will I hear?
What does {ax} say?
What sound does {ax} make?
Which sound does {ax} make?
What noise does {ax} make?
How does {ax} sound?
Tell me what {ax} says.
Tell me the sound of {ax}.
Do you know what {ax} says?
What is the sound of {ax}?
Make the sound of {ax}.
Can you make the sound of {ax}?
Say it like {ax}.
Which noise comes from {ax}?
What do you hear from {ax}?
[baby]
What is a baby {x} called?
What do you call a baby {x}?
What is the name for a baby {x}?
How do you call a young {x}?
Tell me what a baby {x} is called.
What is a young {x} called?
Name the baby of {ax}.
What do we call the baby of {ax}?
Do you know what a baby {x} is called?
Which word means a baby {x}?
A baby {x} is called what?
What is the baby of {ax} called?
Give me the word for a baby {x}.
[legs]
How many legs does {ax} have?
How many legs has {ax} got?
Tell me how many legs {ax} has.
What is the number of legs of {ax}?
Do you know how many legs {ax} has?
{Ax} has how many legs?
Count the legs of {ax}.
Say how many legs {ax} has.
Can you tell me how many legs {ax} has?
On how many legs does {ax} walk?
How many legs do you see on {ax}?
[home]
Where can I find {ax}?
Where can I see {ax}?
Where will I find {ax}?
Where do I look for {ax}?
Where does {ax} sleep?
Where does {ax} stay?
Where is {ax} at home?
{Ax} lives where?
{Ax} has its home where?
What place is home to {ax}?
Name the home of {ax}.
Name the place where {ax} lives.
I am looking for {ax}. Where is it?
I want to know where {ax} lives.
In what place can I find {ax}?
Where does {ax} live?
Where can you find {ax}?
Where is the home of {ax}?
Tell me where {ax} lives.
Do you know where {ax} lives?
What is the home of {ax}?
In which place does {ax} live?
Where would I look for {ax}?
Where does {ax} have its home?
Say where {ax} lives.
Can you tell me where {ax} lives?
[shape]
How many sides does a {x} have?
How many sides has a {x}?
Tell me how many sides a {x} has.
What is the number of sides of a {x}?
Do you know how many sides a {x} has?
A {x} has how many sides?
Count the sides of a {x}.
Say how many sides a {x} has.
How many sides are there in a {x}?
How many sides do you see on a {x}?
Can you tell me how many sides a {x} has?
[parts]
How many {y} does a {x} have?
How many {y} are in a {x}?
How many {y} are there in a {x}?
Tell me how many {y} a {x} has.
What is the number of {y} of a {x}?
Do you know how many {y} a {x} has?
A {x} has how many {y}?
Count the {y} of a {x}.
Say how many {y} a {x} has.
Can you tell me how many {y} a {x} has?
How many {y} make a {x}?
[count_up]
Count upwards from {a} to {b}.
Count for me from {a} to {b}.
Begin at {a} and count up to {b}.
Begin with {a} and count until {b}.
I want to hear the numbers from {a} to {b}.
Go from {a} to {b}.
Write the numbers from {a} to {b}.
Show me the numbers from {a} to {b}.
From {a} count up to {b}.
Count from {a} to {b}.
Please count from {a} to {b}.
Can you count from {a} to {b}?
Count up from {a} to {b}.
Say the numbers from {a} to {b}.
List the numbers from {a} to {b}.
Give me the numbers from {a} to {b}.
Write all numbers between {a} and {b}, with both ends.
Start at {a} and count to {b}.
Tell me the numbers from {a} up to {b}.
Name all numbers from {a} to {b}.
Let me hear you count from {a} to {b}.
Which numbers go from {a} to {b}?
[count_down]
Count back from {a} to {b}.
Count for me down from {a} to {b}.
Begin at {a} and count down to {b}.
Write the numbers from {a} down to {b}.
Show me the numbers from {a} down to {b}.
From {a} count down to {b}.
I want to hear the numbers from {a} down to {b}.
Count down from {a} to {b}.
Please count down from {a} to {b}.
Can you count down from {a} to {b}?
Count backwards from {a} to {b}.
Say the numbers from {a} down to {b}.
List the numbers from {a} down to {b}.
Give me the numbers from {a} down to {b}.
Start at {a} and count down to {b}.
Tell me the numbers from {a} down to {b}.
Start at {a} and count backwards to {b}.
Can you go backwards from {a} to {b}?
[number_after]
What is one more than {a}?
Which number is one more than {a}?
Give me the number after {a}.
Give me the next number after {a}.
What is the next number after {a}?
What number is next after {a}?
What number follows {a}?
{a}, and then?
Count one further than {a}.
I am at {a}. What is the next number?
Do you know the number after {a}?
What number comes after {a}?
Which number comes after {a}?
Which number follows {a}?
What is the number after {a}?
Tell me the number after {a}.
Name the number that follows {a}.
After {a} comes which number?
What comes after {a}?
Can you tell me the number after {a}?
Which number is next after {a}?
Say the number that comes after {a}.
[number_before]
What is one less than {a}?
Which number is one less than {a}?
Give me the number before {a}.
What number is before {a}?
What number is right before {a}?
What is the last number before {a}?
Count one back from {a}.
Do you know the number before {a}?
What number comes before {a}?
Which number comes before {a}?
What is the number before {a}?
Tell me the number before {a}.
Name the number that comes before {a}.
Before {a} comes which number?
What comes before {a}?
Can you tell me the number before {a}?
Which number is right before {a}?
Say the number that comes before {a}.
[bigger_number]
Which number is larger, {a} or {b}?
Which one is bigger, {a} or {b}?
Which one is larger: {a} or {b}?
What is larger, {a} or {b}?
What is more, {a} or {b}?
What number is bigger, {a} or {b}?
Between {a} and {b}, which is bigger?
Tell me the bigger number: {a} or {b}.
Give me the bigger one: {a} or {b}.
Pick the bigger number, {a} or {b}.
Is {a} bigger or is {b} bigger?
Who has more, one with {a} or one with {b}?
Which is bigger, {a} or {b}?
What is bigger, {a} or {b}?
Which number is bigger: {a} or {b}?
Which is more, {a} or {b}?
Which is larger, {a} or {b}?
Is {a} or {b} bigger?
Tell me which is bigger, {a} or {b}.
Compare {a} and {b}. Which one is bigger?
Of {a} and {b}, which is bigger?
Which of {a} and {b} is the bigger number?
{a} or {b}: which is bigger?
Name the bigger number: {a} or {b}.
Take the bigger one of {a} and {b}. Which is it?
Say which number is bigger, {a} or {b}.
[smaller_number]
Which one is smaller, {a} or {b}?
Which one is less: {a} or {b}?
What is less, {a} or {b}?
What number is smaller, {a} or {b}?
Between {a} and {b}, which is smaller?
Tell me the smaller number: {a} or {b}.
Give me the smaller one: {a} or {b}.
Pick the smaller number, {a} or {b}.
Is {a} smaller or is {b} smaller?
Who has less, one with {a} or one with {b}?
Which is smaller, {a} or {b}?
What is smaller, {a} or {b}?
Which number is smaller: {a} or {b}?
Which is less, {a} or {b}?
Is {a} or {b} smaller?
Tell me which is smaller, {a} or {b}.
Compare {a} and {b}. Which one is smaller?
Of {a} and {b}, which is smaller?
Which of {a} and {b} is the smaller number?
{a} or {b}: which is smaller?
Name the smaller number: {a} or {b}.
Take the smaller one of {a} and {b}. Which is it?
Say which number is smaller, {a} or {b}.
[bigger_animal]
Which one is bigger, {ax} or {ay}?
Which one is larger: {ax} or {ay}?
What is larger, {ax} or {ay}?
Which is the bigger animal, {ax} or {ay}?
Who is larger, {ax} or {ay}?
Between {ax} and {ay}, which is bigger?
Tell me the bigger animal: {ax} or {ay}.
Pick the bigger animal, {ax} or {ay}.
Is {ax} bigger or is {ay} bigger?
Which is bigger, {ax} or {ay}?
What is bigger, {ax} or {ay}?
Who is bigger, {ax} or {ay}?
Which animal is bigger: {ax} or {ay}?
Is {ax} or {ay} bigger?
Which is larger, {ax} or {ay}?
Tell me which is bigger, {ax} or {ay}.
Compare {ax} and {ay}. Which one is bigger?
Of {ax} and {ay}, which is bigger?
{Ax} or {ay}: which is bigger?
Name the bigger animal: {ax} or {ay}.
Say which animal is bigger, {ax} or {ay}.
[parity]
Is {a} an even or an odd number?
Is {a} an odd or an even number?
Which is {a}, odd or even?
Odd or even: {a}?
Even or odd: {a}?
Tell me whether {a} is even or odd.
Say if {a} is even or odd.
I want to know if {a} is odd or even.
The number {a}, is it even or odd?
Is {a} even or odd?
Is {a} odd or even?
Is the number {a} even or odd?
Tell me if {a} is even or odd.
Say whether {a} is odd or even.
{a}: even or odd?
Do you know if {a} is even or odd?
Can you say if {a} is odd or even?
Would you call {a} even or odd?
What is {a}, even or odd?
[spell_number]
Write {a} as a word.
Write {a} as words.
Write down {a} in words.
How do I write {a} in words?
How do I spell {a}?
How do you spell {a}?
How do you spell the number {a}?
Spell {a}.
Spell the number {a}.
Spell the number {a} for me.
Which words do I write for {a}?
I want {a} in words.
Tell me {a} in words.
The number {a} in words, please.
{a} in words?
{a} in words
What is the word for {a}?
How do you write {a} in words?
Write {a} in words.
Write the number {a} in words.
What is {a} in words?
Say {a} in words.
Tell me how to write {a} in words.
Can you write {a} in words?
Put {a} into words.
How is {a} written in words?
Give me {a} in words.
Please spell out the number {a}.
Spell out {a}.
[list_days]
What are the days of the week?
Name the days of the week.
List the days of the week.
Tell me the days of the week.
Can you name all days of the week?
Say all seven days of the week.
Which days does a week have?
Give me the days of the week.
Do you know the days of the week?
I want to hear the days of the week.
[list_months]
What are the months of the year?
Name the months of the year.
List the months of the year.
Tell me the months of the year.
Can you name all months of the year?
Say all twelve months of the year.
Which months does a year have?
Give me the months of the year.
Do you know the months of the year?
I want to hear the months of the year.
[echo]
Repeat: {x}
Repeat this: {x}
Please say: {x}
Say: {x}
Please copy: {x}
Echo: {x}
Write: {x}
Now repeat: {x}
Repeat exactly: {x}
Repeat after me: {x}
Say this: {x}
Please repeat: {x}
Repeat these words: {x}
Say the words: {x}
Copy this: {x}
Can you repeat this? {x}
Write this again: {x}
Say after me: {x}
[hello]
Hello, my friend!
Hi, friend!
Hey Shoal!
Good morning, Shoal!
Good evening, Shoal.
Good day to you!
A very good morning to you!
Welcome!
Hello, is anybody there?
Hi, are you there?
Howdy!
Well, hello!
Oh, hi!
Hello hello!
Hi hi!
I am back!
Here I am again.
Let us talk.
I want to talk to you.
Hello
Hello!
Hi
Hi!
Hi there!
Hello there!
Hey
Hey there!
Good morning
Good morning!
Good evening!
Good day!
Good afternoon!
Greetings!
Hello, Shoal!
Hi, Shoal!
Nice to meet you.
Hello again!
[how_are_you]
How are you feeling?
How do you feel right now?
How are things?
How is your day?
How was your day?
Are you fine?
Are you happy today?
Are you feeling well?
Do you feel well?
Is all well with you?
Are you all right?
All good with you?
I hope you are well.
How goes it?
And how are you?
So how are you today?
How is life?
How is everything?
What is new?
Hello Shoal, how are you today?
How are you?
How are you today?
How are you doing?
How do you do?
How do you feel?
How do you feel today?
How is it going?
Are you well?
Are you okay?
Is everything fine?
How have you been?
Hello, how are you?
Hi, how are you?
Hey, how are you doing?
Tell me how you are.
What is up?
[bye]
Bye, Shoal!
Bye for now!
Goodbye, Shoal!
Goodbye, my friend.
See you!
See you next week!
See you on Monday.
Talk to you later.
I am going home now.
I am going to bed.
I need to go.
I have to leave.
Time to go.
It is late, I must sleep.
Sleep well!
So long!
Have a good day!
Have a nice evening!
We are done. Bye!
I am done for today.
Take care!
Bye
Bye!
Goodbye
Goodbye!
Bye bye!
See you later!
See you tomorrow!
See you soon!
Good night!
Good night, Shoal.
I have to go now.
I must go. Bye!
That is all. Goodbye!
Until next time!
Farewell!
I am leaving now.
[thanks]
Thanks, Shoal!
Thank you, Shoal.
Thank you so much!
Thanks so much.
Thank you kindly.
Oh, thank you!
Okay, thanks.
Good, thank you.
Perfect, thanks!
Wonderful, thank you!
Nice, thanks a lot.
Thank you for the answer.
Thanks for the answer.
Thanks for your time.
Thanks for helping me.
Thank you for the story.
I want to thank you.
You are very kind, thank you.
That is very nice of you, thank you.
That was good. Thanks.
You did well, thanks.
Cheers, thank you!
Thanks
Thanks!
Thank you
Thank you!
Thank you very much.
Thanks a lot!
Many thanks!
Great, thank you!
Thank you for your help.
That was helpful, thanks.
Good answer, thank you.
You helped me a lot. Thanks!
I thank you.
Very kind of you, thanks.
[who]
Who exactly are you?
What kind of thing are you?
What is this program?
And who are you?
So who are you?
Your name, please?
Do tell me your name.
I would like to know your name.
I want to know who you are.
Let me know your name.
Give me your name.
Say your name.
Could you tell me who you are?
Could you introduce yourself to me?
Present yourself.
Describe yourself.
Which model are you?
What model is this?
What sort of model are you?
What are you called?
By what name do you go?
Am I talking to Shoal?
Are you Shoal?
Is your name Shoal?
Who is talking to me?
Who is there?
Who answers me here?
With which model do I talk?
Under which name do people know you?
How do people call you?
How may I call you?
Who are you?
What are you?
What is your name?
What's your name?
Tell me your name.
Tell me who you are.
Do you have a name?
How are you called?
What should I call you?
May I know your name?
Say who you are.
Please introduce yourself.
Introduce yourself.
Can you tell me your name?
With whom am I talking?
Who am I talking to?
Who is this?
What do people call you?
Tell me something about yourself.
[maker]
Who is your creator?
Who programmed you?
Who has made you?
Who wrote you?
Who developed you?
Where were you made?
From where are you?
Where are you from?
Where did you come from?
Who is behind you?
Who owns you?
Whose work are you?
Which people built you?
Do you have a maker?
I want to know who made you.
Say who made you.
Please tell me who created you.
Which team trained you?
Who made you?
Who built you?
Who created you?
Who trained you?
Where do you come from?
Who is your maker?
Tell me who made you.
Which project made you?
Who are the people that made you?
By whom were you made?
Do you know who made you?
Can you tell me who built you?
[can]
Tell me your skills.
List your skills.
What do you do?
What can I do with you?
What are you able to do?
What are you made for?
What are you for?
For what can I use you?
How do I use you?
How can I use you?
What could you do for me?
What kind of things can you do?
What kind of help do you give?
Could you help me?
Please help me.
Help me!
I need some help.
Can I ask you something?
May I ask you a question?
Which questions may I ask?
What tasks can you solve?
Show me what you can do.
Do you have any talents?
What do you do best?
With what can you help me?
What can you do?
What can you do for me?
What are you good at?
How can you help me?
What can I ask you?
Which things can you do?
Tell me what you can do.
What do you know?
Can you help me?
I need help. What can you do?
What are your skills?
What kind of questions can you answer?
What should I ask you?
Help
[human]
Are you a man or a machine?
Are you a living being?
Are you a living thing?
Are you real?
Are you a woman?
Are you a man?
Do you live?
Do you breathe?
Do you have feelings?
Do you have a heart?
Do you eat?
Do you sleep?
Is there a person behind this?
Is a human talking to me?
Am I talking to a person?
Am I talking to a machine?
Do I talk to a human being?
I think you are a human.
I guess you are a person.
You are human, right?
You are a robot, right?
Could you be a human?
Are you human?
Are you a human?
Are you a person?
Are you a robot?
Are you a machine?
Are you a real person?
Are you alive?
Am I talking to a human?
Is this a human or a machine?
Are you a computer?
Tell me if you are human.
Do you have a body?
[my_name]
I am called {x}.
The name is {x}.
My name's {x}.
Name: {x}
This is {x}.
This is {x} speaking.
{x} is my name.
{x} here.
Here is {x}.
It is me, {x}.
Know that my name is {x}.
I go by {x}.
Everybody calls me {x}.
Everyone calls me {x}.
My mother calls me {x}.
Call me {x}.
Just call me {x}.
You may call me {x}.
Hi, call me {x}.
Hey, I'm {x}.
Hello! I am {x}.
Hello, this is {x}.
Good morning, I am {x}.
Good morning, my name is {x}.
Good evening, I'm {x}.
Hello Shoal, I am {x}.
Hi Shoal, my name is {x}.
I am {x}, hello!
I'm {x}, nice to meet you.
Let me introduce myself: I am {x}.
May I introduce myself? My name is {x}.
They named me {x}.
My parents named me {x}.
My name is {x}.
I am {x}.
I'm {x}.
You can call me {x}.
Please call me {x}.
Hello, my name is {x}.
Hi, I am {x}.
Hi! I'm {x}.
People call me {x}.
They call me {x}.
Hello, I am {x}. Nice to meet you.
My friends call me {x}.
[ask_my_name]
And what is my name?
So what is my name?
Now, what is my name?
What am I called?
What did I say my name was?
What name did I give you?
What was my name?
What was my name again?
Which name do I have?
Which name did I tell you?
By which name do you know me?
Can you say my name?
Can you remember my name?
Could you tell me who I am?
Do you know who I am?
Do you still know my name?
Do you still remember me?
Do you know what I am called?
Have you forgotten my name?
I forgot my name. What is it?
I told you my name. What is it?
My name is what?
Please say my name.
Repeat my name.
Tell me who I am.
Try to remember my name.
Who is talking to you?
With whom do you talk?
What is my name?
What's my name?
Do you know my name?
Who am I?
Tell me my name.
Do you remember my name?
Can you tell me my name?
Say my name.
How am I called?
Please tell me what my name is.
[story]
Tell me another story{topic}.
Tell me a nice story{topic}.
Tell a story{topic}.
Tell us a story{topic}.
Could you tell me a story{topic}?
Would you tell me a story{topic}?
Will you tell me a story{topic}?
Can you write a story{topic}?
Can you write me a short story{topic}?
Please make up a story{topic}.
Make a story{topic}.
Now a story{topic}.
I need a story{topic}.
I want a story{topic}.
I want a short story{topic}.
I'd like to hear a story{topic}.
Read me a story{topic}.
Create a story{topic}.
Write a tale{topic}.
A short story{topic}.
Story{topic}.
Tell me a story{topic}.
Tell me a short story{topic}.
Please tell me a story{topic}.
Can you tell me a story{topic}?
Write a story{topic}.
Write a short story{topic}.
Write me a story{topic}.
I want to hear a story{topic}.
I would like a story{topic}.
Give me a story{topic}.
Make up a story{topic}.
Do you know a story{topic}?
Could you write a little story{topic}?
Let me hear a story{topic}.
A story{topic}, please.
Invent a short story{topic}.
Tell a bedtime story{topic}.
Story time! Tell me one{topic}.
Please write a tale{topic}.
Tell me a little tale{topic}.
"""


def normal(text):
    """Lower case without punctuation marks: two lines that differ in nothing else count as one phrasing."""
    return " ".join(re.sub(r"[.,!?:;]", " ", text.lower()).split())


def is_held_out(intent, line):
    line = normal(line)
    return hashlib.sha256(f"{intent}|{line}".encode()).digest()[0] % HELD_OUT_SHARE == 0


def _parse(text):
    tables, name = {}, None
    for line in text.strip().splitlines():
        head = re.fullmatch(r"\[(\w+)\]", line)
        if head:
            name = head.group(1)
            tables[name] = []
        elif line:
            tables[name].append(line)
    return tables


ALL = _parse(_TEXT)
TRAIN = {intent: [t for t in lines if not is_held_out(intent, t)] for intent, lines in ALL.items()}
HELD_OUT = {intent: [t for t in lines if is_held_out(intent, t)] for intent, lines in ALL.items()}
