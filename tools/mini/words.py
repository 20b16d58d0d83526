"""Everyday words, by kind. They give the tokenizer a wider vocabulary than the facts need, and the model meets them all
when it is asked to repeat something, so that no token of the vocabulary stays untrained."""

NOUNS = """
address adult advice afternoon age air airport alarm alley ambulance angle animal answer apartment apron arm army
arrow artist aunt author baker balcony balloon bank barrel bathroom battery beach bean beard bedroom beetle belt
bench berry bicycle blanket blossom board body bone bottle bottom bowl box boy brain branch brick bridge broom
brother brush bucket building bus butcher butter button cabin cable cake calendar camera camp candle captain card
carpet castle ceiling cellar chain chair chalk chance cheese chess chicken child chimney church cinema circle circus
city class clock cloth coast coat coffee collar college comb company computer concert cookie copper corn corner
cotton couch country cousin cover creature crowd crown cup cupboard curtain cushion customer dance danger date
daughter desk diamond dinner dirt doctor doll dollar donkey drawer drawing dream dress driver dust eagle ear earth
east edge education effort egg elbow engine envelope evening event example exercise face factory family farmer
father feather fence field finger fire flag flame flat floor flour flower fog food foot forest fork fountain fruit
furniture game gate ghost gift girl glass glove glue gold grain grandfather grandmother grape group guest guitar
hair hall hammer hand handle harbour heart heaven heel help herb hill history hole holiday home honey hook hospital
hotel hour hunter ice idea inch ink insect iron island jacket jam jar jewel job journey judge juice kettle kitchen
knee knife ladder lake lamb language lawyer leather lesson letter library lip list lock luck lunch machine magazine
map market mask master match meal meat medicine member message metal middle mirror mistake moment money monster
mountain mouth museum mushroom music nail name napkin neck needle neighbour nest net newspaper noise north nose
notebook number nurse nut oak ocean office oil onion orchestra oven owner package page paint pair palace pan paper
parent party passenger path pencil pepper person phone photo piano picture piece pillow pilot pipe planet plant
plate player pocket poem police pond potato powder present president price prince princess prison prize problem
program purse puzzle queen question radio railway rainbow reason recipe result ribbon rice ring road robot rock roof
room rope rose rubber rule sailor salad sand sandwich sausage scale school science scissors screen season seat
secret seed servant shadow shape shelf shell ship shirt shoe shop shore shoulder shovel sister skin skirt sleeve
smile smoke soap soldier son song soup south space spoon sport spring square stable stage stair stamp station statue
steam steel step stomach storm straw street string student subject sugar suit summer supper surprise sweater sword
table tail tailor task taxi tea teacher team telephone temple tent theatre thing thread throat thumb thunder ticket
tiger toe tongue tool tooth towel tower toy traffic train travel treasure trouble truck trumpet tunnel turtle
umbrella uncle uniform vegetable voice volcano waiter wall water wave weather wedding weekend weight west wheat
wheel whistle wife window wine wing winter witch woman wood wool word work world wound writer yard zebra zoo
""".split()

VERBS = """
accept admire agree allow announce appear argue arrange arrive avoid bake balance become behave belong bite blow
boil borrow bounce break breathe bring burn bury buy call carry catch celebrate change chase cheer choose clap climb
close collect come compare complain cook copy cost cough count crawl cross cry cut dance decide deliver describe
discover divide draw dream drink drive drop earn eat enjoy enter escape explain fall feed feel fight fill find
finish fix float fold follow forget forgive freeze gather give grab greet grow guess hang happen hate hear hide hold
hope hunt hurry imagine improve invite join joke jump keep kick kiss knit knock know laugh lead learn leave lend lie
lift listen live look love manage march marry measure meet melt mend move need notice obey offer order pack pass pay
pick plan play point polish pour practise prepare pretend promise protect prove pull punish put raise reach read
receive remember remove repair reply rescue rest return ride roll rub run save scream search sell send separate
serve sew shake shine shoot shout show shut sing sit sleep slide smell sneeze solve speak spend spill spread stand
start stay steal stop study succeed suffer suggest swallow swim swing take talk taste teach tear tell thank think
throw tie touch trade train travel try turn understand use visit wait wake walk want warn wash waste watch wear
whisper wish wonder worry wrap write yawn
""".split()

OTHERS = """
able afraid alone angry asleep awake awful basic beautiful better bitter blind bored brave bright broad broken calm
careful cheap clear clever comfortable common complete cool correct crazy cruel curious curly dangerous dead deaf
dear deep delicious different difficult double dull eager easy electric equal excellent expensive famous fancy final
fine foolish foreign free fresh friendly funny gentle giant glad golden grand grateful great guilty handsome healthy
heavy helpful honest huge hungry important jealous jolly kind lazy lonely lovely lucky mad magic main modern narrow
nasty natural neat nervous nice noisy normal odd ordinary pale patient perfect plain pleasant polite popular
possible pretty private proud public pure rare ready real rough round royal rude safe scared serious several sharp
shy sick silent silly silver similar simple single sleepy slim smart smooth special steep stiff straight strange
stupid sudden sure sweet terrible thankful thirsty tidy tiny tired useful usual warm weird whole wide wild wise
wonderful wooden wrong about above across again against almost along already always among another around away
because before behind below beside between both during each either enough even ever every except forever here
however instead just maybe more most much never nobody nothing often once only other over perhaps quite rather
really seldom since some sometimes soon still then there though through together tomorrow tonight too toward twice
under until usually very well while without yesterday yet
""".split()

ALL = sorted(set(NOUNS + VERBS + OTHERS))
