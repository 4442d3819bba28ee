#include "proof/token_corpus.h"

#include <fmt/format.h>

#include "core/utf8.h"

namespace prentice {

namespace {

// Ascending, sixteen to a text.
void add_code_points(std::vector<std::string>& texts) {
  constexpr char32_t kEnd = 0x250;
  for (char32_t first = 1; first < kEnd; first += 16) {
    std::string text;
    for (char32_t point = first; point < first + 16 && point < kEnd; ++point) text += utf8_of(point);
    texts.push_back(text);
  }
}

void add_runs(std::vector<std::string>& texts) {
  for (const size_t count : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33}) {
    const std::string spaces(count, ' '), lines(count, '\n'), tabs(count, '\t'), sevens(count, '7'), threes(count, '3');
    texts.push_back(fmt::format("a{}b{}c{}d", spaces, lines, tabs));
    texts.push_back(fmt::format("{}x", spaces));
    texts.push_back(fmt::format("x{}", spaces));
    texts.push_back(fmt::format("1{} 0.{}", sevens, threes));
    texts.push_back(fmt::format("{:=>{}}{:->{}} {:.>{}}", "", count, "", count, "", count));
  }
}

}  // namespace

std::vector<std::string> plain_texts() {
  std::vector<std::string> texts = {
      "",
      " ",
      "\n",
      "\r\n line ends \r\n\r\n of two kinds \r",
      "Once upon a time",
      " leading space",
      "trailing space ",
      "I've been told he's there; we'll see, they'd LIKE it, 'RE you sure? IT'S what'sit's.",
      "The price is $1,234.56 (or 12.5%), 3.14159e-10, 0x1F, #42 and 1/2.",
      "2024-12-31T23:59:59Z 192.168.0.1 +49 (0)30 123456",
      "def f(x):\n    return {\"a\": [1, 2, 3], 'b': x ** 2}  # comment\n",
      "<div class=\"a\">&amp;</div> https://example.org/a?b=c&d=%20 name@example.org",
      "snake_case camelCase PascalCase kebab-case SCREAMING_CASE x1y2z3",
      "gr\u00f6\u00dfe na\u00efve \u00fcber \u00c5ngstr\u00f6m \u0141\u00f3d\u017a \u010desk\u00fd T\u00fcrk\u00e7e "
      "\u0130\u0131",
      "\u0420\u0443\u0441\u0441\u043a\u0438\u0439 \u0442\u0435\u043a\u0441\u0442, "
      "\u0423\u043a\u0440\u0430\u0457\u043d\u0430",
      "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u03ba\u03b5\u03af\u03bc\u03b5\u03bd\u03b1",
      "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0c\u6211\u4eec\u53bb\u516c\u56ed\u3002\u6771\u4eac\u90fd",
      "\u3053\u3093\u306b\u3061\u306f\u3001\u30ab\u30bf\u30ab\u30ca\u3068\u6f22\u5b57\u3002",
      "\uc548\ub155\ud558\uc138\uc694 \ud55c\uad6d\uc5b4",
      "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u060c \u0661\u0662\u0663",
      "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
      "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e \u0967\u0968\u0969",
      "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01",
      "\u1780\u17b6\u1793\u17cb\u178f\u17c2\u1796\u17b7\u179f\u17c1\u179f",
      "\U0001f680 (normal) \U0001f636\u200d\U0001f32b\ufe0f \u2705 \U0001f999\U0001f999 "
      "\U0001f468\u200d\U0001f469\u200d\U0001f467 "
      "\U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd",
      "\u2014 em \u2013 en \u2026 \u201cquotes\u201d \u2018single\u2019 \u00a0nbsp\u2003em space\u3000wide \u2009thin",
      "\u222b\u2211\u221a\u221e \u2264\u2265\u2260 \u03b1\u03b2\u03b3 x\u00b2 H\u2082O \u2460 \u00bd \u2122",
      "\ufeffbyte order mark, zero\u200bwidth, soft\u00adhyphen",
      "\u2581lower one eighth block\u2581 is a letter here",
      std::string(kComposed) + " \u00e0\u00e9\u00ee\u00f5\u00fc",
      std::string(kDecomposed) + " a\u0300e\u0301i\u0302o\u0303u\u0308",
  };
  add_code_points(texts);
  add_runs(texts);
  return texts;
}

bool is_decomposed(std::string_view text) {
  for (size_t at = 0; at + 1 < text.size(); ++at) {
    const auto first = static_cast<unsigned char>(text[at]), second = static_cast<unsigned char>(text[at + 1]);
    if (first == 0xcc || (first == 0xcd && second < 0xb0)) return true;  // U+0300 to U+036F
  }
  return false;
}

std::vector<std::string> texts_of_added(const Tokenizer& tokenizer) {
  std::vector<std::string> texts;
  std::string all;
  for (const auto& token : tokenizer.added_tokens()) {
    const std::string& text = token.content;
    texts.push_back(text);
    texts.push_back(fmt::format("a{}b", text));
    texts.push_back(fmt::format("one {} two\n{}{}three", text, text, text));
    if (texts.size() < 150) all += token.content;
  }
  if (!all.empty()) texts.push_back(all);
  return texts;
}

const std::vector<std::string>& proof_prose() {
  static const std::vector<std::string> prose = {
      "The office opens at eight. Mara unlocks the front door, turns on the lights in the hall and puts the kettle on. "
      "By the time the first bus stops at the corner, two visitors are waiting with a parcel that nobody ordered. She "
      "writes their names into the book, gives each of them a badge, and asks them to sit down. One of them wants to "
      "know "
      "how long it will take. \"Ten minutes,\" she says, \"if the lift works.\" The lift does not work, so they take "
      "the "
      "stairs to the third floor, where a man in a grey coat signs for the parcel and thanks them twice.",
      "Once upon a time there was a little dog who lived near a river. Every morning he ran to the bridge and looked "
      "at the "
      "boats. One day a small girl dropped her red ball into the water. The dog jumped in, swam as fast as he could "
      "and "
      "brought the ball back. The girl was very happy. She hugged the dog and gave him a piece of bread. From that day "
      "on "
      "they met at the bridge every morning, and the dog was never alone again.",
      "Question: how do I change the address on my account?\nAnswer: open the settings, choose Profile, and press Edit "
      "beside "
      "the address. A message with a link comes to the old address first; the change is made once you have opened it. "
      "If "
      "you no longer have access to that mailbox, call us between 9:00 and 17:30 and keep your customer number at "
      "hand.",
      "def mean(values):\n    total = 0.0\n    for value in values:\n        total += value\n    return total / "
      "len(values)\n\n\n"
      "print(mean([1, 2, 3.5, 10]))  # 4.125\n",
      "Bread for two: 500 g of flour, 350 ml of water, 10 g of salt, 3 g of yeast. Mix the flour with the water and "
      "let it "
      "rest for half an hour. Add the salt and the yeast, knead for eight minutes, and leave the dough under a cloth "
      "until "
      "it has doubled. Shape it, wait for another forty minutes, and bake it at 230 degrees for 35 minutes.",
      "{\"order\": 48213, \"status\": \"shipped\", \"items\": [{\"sku\": \"A-17\", \"count\": 2}, {\"sku\": \"B-03\", "
      "\"count\": "
      "1}], \"total\": 59.90, \"paid\": true}\n",
      "In the evening the wind turned and brought the smell of rain. The captain looked at the chart, then at the sky, "
      "and "
      "said that they would stay in the harbour for another night. Nobody complained. The cook had bought fish and "
      "lemons, "
      "the engineer had a guitar, and the old man who had sailed with them since the spring told the story of the "
      "lighthouse again, this time with a different ending. When the first drops fell, they carried the table inside "
      "and "
      "went on talking until the lamp burned low. In the morning the sea was flat and bright, and they left at six.",
      "Water boils at 100 degrees at sea level because its vapour pressure there equals that of the air. Higher up the "
      "air "
      "is thinner: at 3,000 metres water boils at about 90 degrees, and an egg needs longer to become hard. A pot with "
      "a "
      "tight lid does the opposite, it keeps the steam in, the pressure rises, and everything is cooked sooner.",
      "Dear Mr Okafor,\n\nthank you for your letter of 3 March. We have looked into the matter and found that the "
      "invoice was "
      "sent twice by mistake. Please ignore the second one. The amount that you paid on 28 February has been booked, "
      "and "
      "nothing is open on your account.\n\nWith kind regards,\nthe service team\n",
      "The train to the coast leaves from platform 7 at 14:05 and arrives at 16:48. Passengers with bicycles are asked "
      "to "
      "use the last carriage. There is a change at the junction, where the connecting train waits for up to five "
      "minutes. "
      "Tickets can be bought at the machine, at the counter, or on board for a small fee.",
  };
  return prose;
}

}  // namespace prentice
