import { nameKey } from '../../../names.ts'

/*
 * Finds user names that look alike, as in UTS 39 (Unicode Security Mechanisms). Two names look alike if their skeletons are
 * equal. A skeleton replaces each character with the first of its class of look-alikes, as in the confusables.txt of
 * Unicode. The table contains the characters that look like an ASCII character, and the letters of Latin, Greek, Cyrillic,
 * Armenian, Coptic, Cherokee and Georgian that look like a letter of another of these scripts. NFKC resolves compatible
 * characters, such as those of mathematics, first. A name that mixes scripts can look like a name that is added later.
 */

/** The classes of look-alikes. The first character of each class replaces the others. */
const classes = `
  2ƧϨᒿꙄꛯꝚ 3ƷȜЗӠⳌꝪꞫ𑣊𖼻 4Ꮞ𑢯 5Ƽ𑢻 6бᏮⳒ𑣕 7𐓒𑣆 8Ȣȣ৪੪𐌚\u{1e8cb} 9৭੧୨൭ⳊꝮ𑢬𑣌𑣖 AΑАᎪᗅꓮ𐊠𖽀 BΒВᏴᗷꓐꞴ𐊂𐊡𐌁 CСᏟⲤꓚ𐊢𐌂𐐕𐔜𑣩𑣲
  DᎠᗞᗪꓓ EΕЕᎬⴹꓰ𐊆𑢦𑢮 FϜᖴꓝꞘ𐊇𐊥𐔥𑢢𑣂 GԌᏀᏳꓖ HΗНᎻᕼⲎꓧ𐋏 JͿЈᎫᒍꓙꞲ KΚКᏦᛕⲔꓗ𐔘 LᏞᒪⳐꓡ𐐛𐔦𑢣𑢲𖼖 MΜϺМᎷᗰᛖⲘꓟ𐊰𐌑 NΝⲚꓠ𐔓
  O0ΟОՕ\u{7c0}০ଠ୦ዐⲞⵔ〇ꓳ𐊒𐊫𐐄𐓂𐔖𑓐𑢵𑣠 PΡРᏢᑭⲢꓑ𐊕 Qⵕ RƦᎡᏒᖇꓣ𐒴𖼵 SЅՏᏕᏚꓢ𐊖𐐠𖼺 TΤТᎢⲦꓔ𐊗𐊱𐌕𑢼𖼊 UՍሀᑌꓴ𐓎𑢸𖽂 VѴ\u{667}۷Ꮩᐯⴸꓦꛟ𐔝𑢠𖼈
  WԜᎳᏔꓪ𑣦𑣯 XΧХᚷⲬⵝꓫꞳ𐊐𐊴𐌗𐌢𐔧𑣬 YΥУҮᎩᎽⲨꓬ𐊲𑢤𖽃 ZΖᏃꓜ𐋵𑢩𑣥 aɑαа bƄЬᏏᑲᖯ cсᴄⲥꮯ𐐽 dԁᏧᑯꓒ eеҽꬲ fքẝꞙꬵ gƍɡցᶃ hһհᏂ
  iıɩɪιіӏᎥꙇꭵ𑣃 jϳј l1IƖǀΙІӀ\u{5d5}\u{5df}\u{627}\u{661}۱\u{7ca}ᛁⲒⵏꓲ𐊊𐌉𐌠𖼨\u{1e8c7} nոռ
  oοσоօ\u{5e1}\u{647}\u{665}\u{6be}\u{6c1}\u{6d5}۵०੦૦௦౦೦ഠ൦๐໐ဝ၀ჿᴏᴑⲟꬽ𐐬𐓪𑣈𑣗 pρрⲣ qԛգզ rгᴦⲅꭇꭈꮁ sƽѕꜱꮪ𐑈𑣁
  uʋυսᴜꞟꭎꭒ𐓶𑣘 vνѵ\u{5d8}ᴠꮩ𑜆𑣀 wɯѡԝաᴡꮃ𑜊𑜎𑜏 xхᕁᕽ yɣʏγуүყᶌỿꭚ𑣜 zᴢꮓ𑣄 ÞϷ ßβᏰꞵ þƿϸ ĸκкᴋⲕꮶ ƅьꮟ ƆϽ ƏӘ ƐԐᏋ ƨϩᴤꙅ ƩΣ
  ƫᎿ ǝəә ǶԊ ȝʒӡჳⳍꝫ ȷյ ɁʔᎮ ɂꭾ ɅΛЛ ɔͻᴐↄ ɛεєԑⲉꞓꮛ ɜзᴈ ɢԍᏻꮐ ɰպ ɸφфⲫ ʀꭱꮢ ʌᴧ ʍмᴍꮇ ʘꙨ ʙвᏼ ʜнꮋ ʟⳑꮮ ͰᎨᎰⱵ ͶИ ͷиᴎ
  ͽꜿ ΓГᎱⲄ ΔⲆ ΠПⲠ ΦФՓⲪ ΨѰⲮ δծẟ λⲖ πпᴨ τтᴛꭲ χⲭꭓꭕ ψѱ ωⲱꙍꞷ ϗⳤ ϿꜾ ЄⲈꞒ ШⲼ шⲽ яᴙ љꭠ ѠᏇ ႠꞆ ᴀꭺ ᴅꭰ ᴇꭼ ᴊꭻ ᴘᴩꮲ ⱶꮀ
  ꙌꞶ
  l|∣⏽\u{5c0} a⍺ e℮ E⋿ i⍳ p⍴ T⟙⊤ U⋃∪ v⋁∨ x×⤬⨯⤫᙮ X╳᙭ !ǃⵑ &ꝸ (❨❲〔 )❩❳〕 *⁎∗\u{66d} +➕᛭ ,‚ꓹ\u{60d}\u{66b} -˗‐‒–⁃−➖Ⲻ\u{6d4}
  .ꓸ꘎\u{660}۰\u{701}\u{702} /⁁⁄∕╱⟋⧸ <˂‹❮ᐸ >˃›❯ᐳ =⹀゠꓿ ^˄ˆ _\u{7fa} {❴ }❵ ~⁓∼ ?ʔॽꛫ
  '\u{60}ʹʻʼʽʾˈˊˋ˴՚՝‘’‛′‵ꞌ\u{5d9}\u{5f3}\u{7f4}\u{7f5}
`

const prototypes = new Map(
  classes
    .split(/\s+/u)
    .filter(Boolean)
    .flatMap(([first = '', ...others]) => others.map((other) => [other, first] as const)),
)

/** Returns the skeletons of a name as it is and in lower case: the two can look like different names. */
export function skeletonsOf(name: string): ReadonlySet<string> {
  return new Set([name, nameKey(name)].map(skeletonOf))
}

function skeletonOf(name: string): string {
  const letters = [...name.normalize('NFKC').normalize('NFD')].map((letter) => prototypes.get(letter) ?? letter)
  // A second dot or a second space is invisible.
  const text = letters
    .join('')
    .replace(/(?<=[ij])\u0307/giu, '')
    .replace(/ +/gu, ' ')
  // These pairs look like one letter.
  return nameKey(text).replaceAll('rn', 'm').replaceAll('vv', 'w')
}

/** The scripts in modern use (UAX 31, Tables 5 and 7), under their Unicode names. */
const scripts = (
  'Latin Greek Cyrillic Armenian Hebrew Arabic Bengali Bopomofo Devanagari Ethiopic Georgian Gujarati Gurmukhi Hangul Han ' +
  'Hiragana Kannada Katakana Khmer Lao Malayalam Myanmar Oriya Sinhala Tamil Telugu Thaana Thai Tibetan Adlam Balinese Bamum ' +
  'Batak Canadian_Aboriginal Chakma Cham Cherokee Javanese Kayah_Li Lepcha Limbu Lisu Mandaic Meetei_Mayek Miao Mongolian ' +
  'Newa Nko Nyiakeng_Puachue_Hmong Ol_Chiki Osage Hanifi_Rohingya Saurashtra Sundanese Syloti_Nagri Syriac Tai_Le New_Tai_Lue ' +
  'Tai_Tham Tai_Viet Tifinagh Vai Wancho Yi'
).split(' ')

/** The combinations of scripts that are used together. */
const together = ['Latin Han Hiragana Katakana', 'Latin Han Bopomofo', 'Latin Han Hangul']

/** Returns the scripts that a name mixes, or `undefined` if its characters belong to one script or to a usual combination. */
export function mixedScripts(name: string): string | undefined {
  const sets = [...scripts, ...together]
  if (sets.some((set) => patternOf(set).test(name))) return undefined
  const found = scripts.filter((script) => new RegExp(`\\p{Script=${script}}`, 'u').test(name))
  return found.length > 1 ? found.join(' and ') : 'one that is not in use'
}

function patternOf(set: string): RegExp {
  const each = set.split(' ').map((script) => `\\p{Script_Extensions=${script}}`)
  return new RegExp(`^[${each.join('')}\\p{Script=Common}\\p{Script=Inherited}]*$`, 'u')
}
