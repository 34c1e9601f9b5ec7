"""What around a word tells a person: labels before a name, verbs and possessives after it; and what tells a disease.

All of these look at folded text, and only a few dozen characters of it, so that time stays linear.
"""

import re
from typing import Final

# Headings, with a colon or a dash: only looked for where a text has one.
HEADING_MARK: Final = re.compile(r"[:=]|-\s")
HEADING: Final = re.compile(
    r"\b(?P<name>(?:hasta(?:nin)?\s)?(?:adi?|isim|ismi|soyad[i]?|soyisim"
    r"|soyismi)(?:\s?[,/-]?\s?(?:ve\s)?(?:soyad[i]?|soyisim|soyismi))?"
    r"|(?:patient(?:'s)?\s|full\s|first\s|last\s|middle\s|maiden\s|sur|given\s|family\s|legal\s"
    r"|mother's\s(?:maiden\s)?|father's\s)?names?"
    r"|(?:anne|baba|mother|father)\s?(?:adi|name)|pt name|middle)\s{0,3}[:=]\s{0,4}"
    r"|\b(?:hasta|patient|pt|dr|doktor|doctor|hekim[i]?|imza(?:layan)?|raporlayan|raporu yazan|onaylayan|isteyen"
    r"|istem yapan|yazan|hazirlayan|okuyan|cekimi yapan|"
    r"teknisyen[i]?|hemsire|radyolog|patolog|cerrah|operator|anestezist|asistan|refakatci|yakini?|veli|vasi"
    r"|provider|physician|radiologist|pathologist|"
    r"surgeon|attending|resident|technologist|technician|tech|nurse|rn|signed|signature|author|dictated|transcribed"
    r"|transcriptionist|cc|pcp|from|to|contact|"
    r"emergency contact|next of kin|guardian|referring(?: physician| provider| doctor| md)?|ordering(?: physician"
    r"| provider| md)?|attn|attention|re|"
    r"interpreting physician|reviewed|verified|reported|performed|sonographer|witness|konsultan|sorumlu|danisman"
    r"|ekip|uzman|uzm|prof|acil durumda aranacak|"
    r"irtibat|iletisim|muhatap|anne|baba|es|mother|father|spouse|wife|husband|insured|subscriber|guarantor"
    r"|policy holder|sigortali|yetkili|sahibi|applicant|translator|manager|employer|student|preceptor|fellow|scribe"
    r"|scrub|circulator|float|team|consultant|registrar|anaesthetist|anesthetist"
    r"|anesthesia|anestezi|ekibi|cerrahi ekip|ebe|eczaci|diyetisyen|fizyoterapist|sekreter|arayan|bilgi veren|ogrenci"
    r"|stajyer)"
    r"(?:\s(?:by|adi|eden|doktor[u]?|hekim[i]?|kisi(?:si)?))?\s{0,3}(?:[:=]|-(?=\s))\s{0,4}"
)
LABEL: Final = re.compile(
    r"\b(?:signed|reported|dictated|reviewed|interpreted|verified|performed|transcribed|seen|examined|evaluated"
    r"|read|referred|ordered|approved|"
    r"authorized|accompanied|attested|finalized|cosigned|prepared|administered|entered|witnessed|requested|treated"
    r"|operated|managed|followed|assisted|brought in)\sby\s(?:our\s|his\s|her\s)?"
    r"|\b(?:discussed|spoken|spoke|communicated|consulted|accompanied|met|reviewed|verified"
    r"|confirmed)\s(?:with|to|by)\s"
    r"(?:our\s|his\s|her\s)?"
    r"|\b(?:referred|seen|examined|evaluated|signed|read)\s(?:to|with|of)\s"
    r"|\b(?:care of|attn|dear|sevgili|imza|baby (?:boy|girl|of))\s"
)

_LINK: Final = (
    "(?:at|on|by|for|with|and|or|was|is|are|were|in|had|has|have|to|from|of|who|via|re|as|will|the|ve|ile|icin|da|de)"
)
DISEASE: Final = re.compile(
    rf"[' ]{{1,2}}(?:s\b)?[ -]{{0,2}}(?:\d|(?:(?!{_LINK}\b)[a-z]{{1,20}} )?(?:hastali|sendrom|kisti|lenfoma|anomali"
    rf"|tiroidit|ensefalopati"
    r"|felci|paralizi|nefropati|fenomen|belirti|bulgu|isareti|"
    r"testi|skoru|skor\b|sinif|evre|deformit|fraktur|kirig|kirik|malformasyon|tumor|sarkom|operasyon|ameliyat"
    r"|prosedur|yontem|disease|syndrome|"
    r"cyst|lymphoma|anomaly|thyroiditis|encephalopathy|palsy|phenomenon|sign\b|signs\b|score|scale|test\b|tests\b"
    r"|index|criteria|class|classification|"
    r"stage|staging|fracture|malformation|tumou?r|sarcoma|procedure|operation|deformity|contracture|lines?\b"
    r"|node\b|ligament"
    r"|tendon|duct|pouch|space|"
    r"triangle|angle|area|canal|reflex|esophagus|ozofagus|metaplazi|hernia|maneuver|method|stain|chorea|koresi"
    r"|catheter|kateter|drain|dren|"
    r"coma|koma|indeks|olceg|esophag|nodul|node|divertikul|divertic|aciso|acisi|kontraktur|ulcer|gland|body|bodies"
    r"|cisimci|trias|triad|ring|"
    r"colic|fossa|pulse|solunum|artrit|arter|hucre|cell|grade|derece|tip\b|type\b|repair|nails?\b|scoring"
    r"|units?\b|stents?\b|grafts?\b|filters?\b|masks?\b|dressing|device|vac\b|solution|balloon|complex|kompleks"
    r"|degenerat|column|tables?\b|protocol|protokol|shunt|sant[ilu]?|balon|greft|sonda|valve|kapak|pump|pompa|wrap\b"
    r"|patch"
    r"|lesion|lezyon|sutur|incision|insizyon|kesi\b|anastomo|variant|pattern|patern|nerve|sinir|fascia|fasya|muscle"
    r"|kas[iu]?\b"
    r"|approach|yaklasim|technique|teknig|teknik|regimen|rejim|phase|faz[iu]?\b|effect|etkisi|factor|faktor|virus"
    r"|agar|media"
    r"|wave|dalga|rods?\b|plates?\b|screws?\b|vida|pins?\b|splint|atel|forceps|forseps|blade|suction|diet[i]?\b"
    r"|pads?\b|lift\b|flap|flep|reading|hose\b|stocking|boots?\b|sticker|stool|sling|cast\b|collar|korse|needle|igne"
    r"|tubes?\b|tup[u]?\b))"
)
STOP_AFTER_DISEASE: Final = 48

DEGREE: Final = re.compile(
    r",? (?P<degree>m\.?d\b|ph\.?d\b|r\.?n\b|d\.o\.|do\b(?=[,.;)\n]|$)|n\.?p\b|pa-c\b|pa\b|p\.a\.|rt\b|rdms\b"
    r"|lcsw\b|crna\b|mbbs\b|frcr\b|facr\b|facs\b|dpt\b|pt\b|aprn\b|cnm\b|pharmd\b)"
)
DEGREES: Final = frozenset(
    ["jr", "md", "phd", "rn", "do", "np", "pa", "frcr", "facr", "faca", "facs", "crnp", "dds", "bsn", "msw", "lcsw"]
)

# A name without a colon between: "adı Ayşe", "the name of A. Cadwallader", "moms name is".
BARE_LABEL: Final = re.compile(
    r"\b(?:(?:(?:hasta|anne|baba|es|kardes|cocuk)(?:si)?(?:nin|ni|in)?\s)(?:adi|ismi)(?!\s?:)"
    r"|name(?:\sis|\swas|d)|in\sthe\sname\sof|belongs?\sto|(?:electronically|digitally)\ssigned(?:\sby)?|/s/|kase:?"
    r"|(?:regards|sincerely|saygilarimla)[,.!]?\s?\n?)\s{1,2}"
)
# Where what is written before a word takes a person for its object or greets one.
PERSON_BEFORE: Final = re.compile(
    r"(?<![a-z])(?:by|told|rang|phoned|paged|thanks?|hi|hey|hello|dear|named|goes by|nicknamed|known as"
    r"|calls?\s(?:him|her|them)|thx|ty|signed"
    r"|cosigned|approved|typed|cc|yours|cheers|warmly|best"
    r"|informed"
    r"|notified|asked|met|per|give\s(?:it\s)?to|given\sto|belongs\sto|spoke\s(?:to|with)|talked\s(?:to|with)"
    r"|(?:discussed|reviewed|shared)\s(?:[a-z]{1,12}\s){0,2}with|sevgiler|saygilar(?:imla)?|selamlar|with\sher"
    r"|with\shis|merhaba|selam|sevgili|canim)[:,]?\s{1,2}(?:our\s|his\s|her\s|my\s)?"
)
# Where what follows a word says what persons do or undergo.
PERSON_AFTER: Final = re.compile(
    r",?\s(?:was\s(?:seen|examined|admitted|discharged|born|referred|evaluated|brought|told|asked|advised"
    r"|informed|notified"
    r"|counseled|interviewed|accompanied|hospitali[sz]ed)"
    r"|is\s(?:an?\s\d|\d\d?\b|off\b|on\scall|the\s(?:patient|mother|father|wife|husband)|our|my|allergic"
    r"|pregnant|married)"
    r"|(?:re)?presents?\b|presented|reports?\s|reported|den(?:ies|ied)|stated?s?\s|complain(?:s|ed)|called"
    r"|calls|phoned|rang"
    r"|says|said|asked|asks|wants|wanted|lives\b|lived|died|writes|wrote|arrived|agreed|agrees|declined|declines"
    r"|refused|refuses"
    r"|consented|will\s(?:call|see|review|follow|return|be|read|cover)|returned|came|comes|went|took|takes|slept"
    r"|sleeps|ate|eats|feels|felt|walked|walks|tolerated|tolerates|smokes|smoked|drinks|weighs"
    r"|did\swell|did\snot|does\snot|has\sbeen|has\shad|had\s(?:a|his|her|no)\b|needs|needed|remembers|recalls|hopes"
    r"|likes"
    r"|met|saw|sees|knows|knew|told|tells|thanked|performed|reviewed|examined|signed|ordered|drew|noted|wrote|explained"
    r"|from\s(?:radiology|surgery|pharmacy|dietetics|nursing|social|the\s(?:lab|ward|clinic|er\b|ed\b|family))"
    r"|favou?rs|thinks"
    r"|understands|verbali[sz]ed|flew|drove|family\b|(?:ailesi[a-z]{0,4}|yazdi|onayladi|imzaladi|gordu|devretti"
    r"|karsiladi|sordu|verdi|aldi|yatti|uyudu|kalkti|aradi|geldi|gelmis|gitti|dedi|diyor|soyledi|bildirdi"
    r"|istedi|anlatti"
    r"|getirdi|oldu|dogdu|dustu)\b)"
    r"|,\s(?:please|lutfen|can\syou|could\syou|thank)"
    r"|,?\s(?:\d{1,3}[ ,.;]?\s?(?:(?:m|f|y|yo|y/o|e|k|yrs?|years?)\b|yas)|an?\s\d\d)"
    r"|\s\((?:his |her |the )?(?:wife|husband|mother|father|sister|brother|son|daughter|spouse|partner|mom|dad|friend"
    r"|neighbou?r|carer|caregiver|proxy|hcp|poa|esi|kizi|oglu|annesi|babasi|kardesi|yegeni|torunu|komsusu|refakatci)\b"
)
PERSON_AFTER_LENGTH: Final = 32
POSSESSIVE: Final = re.compile(r"'(?:s\b|(?=\s)|[ndysl]?[iuae]n?[nmi]?\b|[dt][ae]n?\b|y?l[ae]\b|ninki|inki|unki)")

# Where what follows a word says what drugs, devices and diseases do or undergo.
THING_AFTER: Final = re.compile(
    r",?\s(?:was\s|is\s|were\s|then\s|ile\s|de\s|da\s)?(?:begun|started|stopped|continued|given|held|weekly|daily"
    r"|nightly|monthly|yearly"
    r"|bid|tid|qid|prn|initiated|discontinued|applied|in\splace|removed|placed|excluded|absent|negative|positive"
    r"|present\b|obtained"
    r"|infused|implanted|inserted|injected|administered|sent\b|pending|tab(?:let)?s?\b|cap(?:sule)?s?\b|cream|krem"
    r"|drops?\b|damla"
    r"|merhem|surup|flakon|ampul|inhaler|infusion|infuzyon|drip|therapy|tedavi|kullan|baslan|veril|kesil|uygulan"
    r"|takil|onerildi"
    r"|eklen|artiril|azaltil|planlan|dislan|dusunul|saptan|izlen|negatif|pozitif|duyarli|direncli|gunde\b|haftada\b|\d)"
)
THING_AFTER_LENGTH: Final = 32

# Known expressions that are made of names: what stands in one is no person.
EXPRESSION: Final = re.compile(
    r"\b(?:sister mary joseph|orphan annie|st\.? louis encephalitis|st\.? jude|ann arbor|rocky mountain"
    r"|john cunningham"
    r"|epstein.barr|meryem ana eli|baker.s dozen|christmas disease|lou gehrig|wolff.parkinson.white|mallory.weiss"
    r"|jackson.pratt|mary jane|john doe|jane doe test|adam.s apple|virgin mary|st\.? john.s wort|queen anne"
    r"|achilles|caesarean"
    r"|da vinci|ail(?:evi|esel) akdeniz|akdeniz ates|akdeniz anemi|los angeles grade"
    r"|prince albert|red cross|kizil ay)\b"
)
