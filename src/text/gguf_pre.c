/* The table of byte-level pre-tokenizers by the names that llama.cpp gives them (src/llama-vocab.cpp there). Where that program
   replaces an expression by one that its engine can run, the table has the one of the model's own tokenizer.json.
   Rests on vocabulary.c. Read on in gguf_vocabulary.c; expression.c translates the expressions. */
#include "text/gguf_pre.h"

#include <string.h>

/* Alternatives that several expressions share. */
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define BEFORE "[^\\r\\n\\p{L}\\p{N}]?"
#define LETTERS BEFORE "\\p{L}+"
#define SYMBOLS " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QWEN2 CONTRACTION "|" LETTERS "|\\p{N}|" SYMBOLS "|" SPACES

/* Words that change from capitals to small letters at most once. */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(upper, lower, end) BEFORE upper "*" lower "+" end "|" BEFORE upper "+" lower "*" end
#define CASED_REST " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define GPT4O CASED(UPPER, LOWER, CONTRACTION "?") "|\\p{N}{1,3}|" CASED_REST

/* DeepSeek's words. */
#define ASCII_SYMBOL "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]"
#define WORDS3 ASCII_SYMBOL "[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+"
#define KANJI "\\x{4E00}-\\x{9FA5}"
#define KANA "\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}"
#define CJK "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"

/* Letters with case. */
#define LATIN "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}"
#define GREEK                                                                                                                  \
    "\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}"             \
    "\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}"               \
    "\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}"       \
    "\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}"        \
    "\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}"        \
    "\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}"
#define OTHER_CASED                                                                                                            \
    "\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}"          \
    "\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}"         \
    "\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}"        \
    "\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}"       \
    "\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}"                  \
    "\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"

/* Scripts that are written without spaces. */
#define UNSPACED                                                                                                               \
    "[\\x{4E00}-\\x{9FFF}\\x{3400}-\\x{4DBF}\\x{F900}-\\x{FAFF}" KANA "\\x{FF65}-\\x{FF9F}\\x{2F00}-\\x{2FDF}"                 \
    "\\x{E40}-\\x{E7F}\\x{E80}-\\x{EFF}\\x{1780}-\\x{17FF}\\x{1000}-\\x{109F}\\x{AA60}-\\x{AA7F}\\x{A9E0}-\\x{A9FF}"           \
    "\\x{AC00}-\\x{D7AF}\\x{1100}-\\x{11FF}]+"
#define YOUTU                                                                                                                  \
    "[\\x{AC00}-\\x{D7A3}\\x{3131}-\\x{318E}]+|[\\x{FF01}\\x{2026}\\x{201C}\\x{201D}\\x{2018}\\x{2019}\\x{2014}\\x{FF1A}"      \
    "\\x{FF1B}\\x{FF0C}\\x{3001}-\\x{303F}\\x{FE30}-\\x{FE4F}]+|[\\x{3105}-\\x{312F}]+|[" KANJI KANA "]+"
#define BLOOM " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{964}\\x{6D4}\\x{60C})]+"
#define JAIS2_SPACES                                                                                                           \
    "\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|"              \
    "\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}"

static const gguf_pre table[] = {
    { "default", { "[\\p{P}\\$\\+<=>\\^~\\|]+", expression_gpt2, "\\p{N}+", "[0-9][0-9][0-9]" }, false, false },
    { "gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert jina-v1-en jina-v2-code "
      "roberta-bpe exaone4 mpt olmo jais trillion granite-docling",
      { expression_gpt2 }, false, false },
    { "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", { "\\p{N}", expression_gpt2 }, false, false },
    { "falcon", { "[\\p{P}\\$\\+<=>\\^~\\|`]+", expression_gpt2, "[0-9][0-9][0-9]" }, false, false },
    { "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano", { expression_llama3 }, true, true },
    { "dbrx smaug-bpe glm4 chatglm-bpe", { expression_llama3 }, false, false },
    { "jais-2", { CONTRACTION "|" LETTERS "|\\p{N}{1,3}|" SYMBOLS "|" JAIS2_SPACES }, false, false },
    { "minicpm5", { "\\p{N}{1,3}", CONTRACTION "|" LETTERS "|\\p{N}+|" SYMBOLS "|" SPACES }, true, false },
    { "qwen2 deepseek-r1-qwen kormo f2llmv2 stablelm2 hunyuan solar-open megrez grok-2", { QWEN2 }, false, false },
    { "qwen35",
      { CONTRACTION "|" BEFORE "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES }, false, false },
    { "ufakzeka", { LETTERS "|\\p{N}|" SYMBOLS "|" SPACES }, false, false },
    { "seed-coder", { CONTRACTION "|" LETTERS "|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" SPACES }, false, false },
    { "laguna", { "[^\\n]+|[\\n]+", QWEN2 }, false, false },
    { "bailingmoe bailingmoe2 llada-moe",
      { "'(?i:[sdmt]|ll|ve|re)|" LETTERS "|\\p{N}|" SYMBOLS "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+" }, false, false },
    { "exaone-moe",
      { CONTRACTION "|" BEFORE "(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|"
                    "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+" },
      false, false },
    { "gpt-4o llama4 kanana2 talkie minimax-m2", { GPT4O }, false, false },
    { "granite-embed-multi-97m", { GPT4O }, true, false },
    { "tekken", { CASED(UPPER, LOWER, "") "|\\p{N}|" CASED_REST }, true, true },
    { "tiny_aya cohere2moe", { "\\d{1,3}(?=(?:\\d{3})*\\b)", GPT4O }, false, false },
    { "youtu", { YOUTU, CASED(UPPER, LOWER, CONTRACTION "?") "|\\p{N}|" CASED_REST }, true, false },
    { "kimi-k2",
      { "\\p{Han}+|" CASED("(?:(?!\\p{Han})" UPPER ")", "(?:(?!\\p{Han})" LOWER ")", CONTRACTION "?") "|\\p{N}{1,3}|" SYMBOLS
        "|" SPACES },
      false, false },
    { "deepseek-llm",
      { "[\\r\\n]", "\\s?[" LATIN GREEK OTHER_CASED "]+",
        "\\s?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+", "\\s+$", CJK, "\\p{N}+" },
      false, false },
    { "deepseek-coder", { "[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK, "\\p{N}" }, false, false },
    { "deepseek-v3 hunyuan-dense joyai-llm hy_v4",
      { "\\p{N}{1,3}", "[" KANJI KANA "]+", WORDS3 "[\\r\\n]*|" SPACES }, false, false },
    { "spark2_5",
      { "\\p{N}{1,3}", "[" KANJI KANA "]+", WORDS3 "|[\\r\\n]|\\s+(?!\\S)|\\s+", "\\p{N}" }, false, false },
    { "afmoe", /* numbers are cut into groups of three from the right */
      { "\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))", UNSPACED, WORDS3 "[\\r\\n]*|" SPACES }, false, false },
    { "superbpe", { "\\p{N}+", "(?=(\\d{3})+(?!\\d))" }, false, false },
    { "poro-chat bloom gpt3-finnish", { BLOOM }, false, false },
    { "viking", { BLOOM, "\\p{N}" }, false, false },
    { "chameleon",
      { "<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", "\\p{N}",
        "[\\p{P}!-/:-@\\[-`{-~]", expression_gpt2 },
      false, true },
};

/* Is the name one of a list with spaces between them? */
static bool names_have(const char *names, const char *name, size_t size)
{
    for (size_t n = strcspn(names, " ");; n = strcspn(names, " ")) {
        if (n == size && memcmp(names, name, size) == 0) {
            return true;
        }
        if (!names[n]) {
            return false;
        }
        names += n + 1;
    }
}

const gguf_pre *gguf_pre_find(const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (names_have(table[i].names, name, size)) {
            return &table[i];
        }
    }
    return NULL;
}
