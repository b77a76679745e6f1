/* The table of all options and of all subcommands.
   Rests on options.h. Read on in parse.c. */
#include "cli/options.h"

#include <string.h>

#define BIT(name) (1u << COMMAND_##name)
#define FIELD(name) offsetof(options, name)

enum {
    GENERATE = BIT(GENERATE),
    CHAT = BIT(CHAT),
    LOGITS = BIT(LOGITS),
    PERPLEXITY = BIT(PERPLEXITY),
    TOKENIZE = BIT(TOKENIZE),
    TEMPLATE = BIT(TEMPLATE),
    INSPECT = BIT(INSPECT),
    BENCH = BIT(BENCH),
    HELP = BIT(HELP),
    REPLIES = GENERATE | CHAT,
    RUNS = GENERATE | CHAT | LOGITS | PERPLEXITY, /* open one ring and end with its figures */
    RINGS = RUNS | BENCH,
    PLANS = RINGS | INSPECT,
    MODELS = PLANS | TOKENIZE | TEMPLATE,
    ALL = MODELS | HELP
};

/* Catches typing mistakes; other bounds are the library's. */
#define TOKENS_MOST 1099511627776.0 /* 2^40 */

const option option_table[] = {
    {'m', "model", "MODEL", MODELS, OPTION_PATH, FIELD(model), 0, 0, NULL, "LARIAT_MODEL",
     "the model: a Hugging Face directory, a .safetensors file in one, a .gguf file, or random:NAME[:TYPE], a named shape with "
     "weights from a seed (7b, 13b, 70b, 3-8b, 3-70b, 3.2-1b, 3.2-3b, smollm2-135m, "
     "qwen3-8b, qwen3-0.6b, phi4-mini, granite-8b)"},

    {0, "model-dir", "FOLDER", MODELS, OPTION_PATH, FIELD(model_dir), 0, 0, NULL, "LARIAT_MODEL_DIR",
     "the folder that has the model on this host: of -m, unless it is a random model, only the last part of the path counts "
     "then"},

    {'p', "prompt", "TEXT", GENERATE, OPTION_TEXT, FIELD(prompt), 0, 0, NULL, NULL, "the text to go on from"},
    {'p', "prompt", "TEXT", CHAT, OPTION_TEXT, FIELD(prompt), 0, 0, NULL, NULL, "one turn: say this, print the answer, exit"},
    {'p', "prompt", "TEXT", TOKENIZE, OPTION_TEXT, FIELD(prompt), 0, 0, NULL, NULL, "the text (with --decode: the ids)"},
    {'f', "file", "FILE", GENERATE | PERPLEXITY | TOKENIZE, OPTION_PATH, FIELD(file), 0, 0, NULL, NULL,
     "read the text from a file; - is standard input"},
    {'f', "file", "DOCUMENT", CHAT, OPTION_PATH, FIELD(file), 0, 0, NULL, NULL,
     "talk about this text: it is read once, at the start, as the beginning of your first message"},
    {0, "tokens", "FILE", GENERATE | LOGITS | PERPLEXITY, OPTION_PATH, FIELD(tokens), 0, 0, NULL, NULL,
     "read token ids, separated by white space or commas, instead of text; - is standard input"},
    {0, "prompts", "FILE.jsonl", GENERATE, OPTION_PATH, FIELD(prompts), 0, 0, NULL, NULL,
     "run a batch: one {\"id\", \"prompt\", \"tokens\" or \"messages\"} a line in, one {\"id\", \"text\", \"tokens\", "
     "\"stop\"} a line out, in the order of the input; a line without \"id\" gets its number in the file; - is standard input. "
     "A line may have parameters of its own, by OpenAI's names, or be one of OpenAI's batches; one that is bad has an "
     "\"error\" in its result. \"stop\" is end, stop, length, context or, after Ctrl-C, interrupted"},
    {0, "resume", "OUT.jsonl", GENERATE, OPTION_PATH, FIELD(resume), 0, 0, NULL, NULL,
     "with --prompts: write the results to this file instead, and go on where an earlier run of the same prompts was stopped"},

    {'n', "predict", "N", GENERATE, OPTION_COUNT, FIELD(n), 0, TOKENS_MOST, NULL, NULL,
     "at most N tokens a reply (default: until the model ends it or the context is full; with --prompts, --samples and "
     "--logprobs 512)"},
    {'n', "predict", "N", CHAT, OPTION_COUNT, FIELD(n), 0, TOKENS_MOST, NULL, NULL,
     "at most N tokens a reply (default: until the model ends it or the context is full)"},
    {'n', "predict", "N,N...", BENCH, OPTION_LIST, FIELD(reply_lengths), 0, TOKENS_MOST, "64", NULL,
     "tokens to decode after the prompt"},
    {'c', "context", "N", GENERATE, OPTION_COUNT, FIELD(context), 1, LARIAT_CONTEXT_MAX, NULL, NULL,
     "positions of a sequence, prompt and reply together (default: prompt plus -n where -n is given, otherwise the trained "
     "length or, with a warning, the longest that fits into memory; with --prompts, --samples and --logprobs prompt plus the "
     "most tokens of its reply, which are 512 unless given)"},
    {'c', "context", "N", CHAT, OPTION_COUNT, FIELD(context), 1, LARIAT_CONTEXT_MAX, NULL, NULL,
     "positions of the whole talk (default: the trained length or, with a warning, the longest that fits into memory)"},
    {'c', "context", "N", LOGITS, OPTION_COUNT, FIELD(context), 1, LARIAT_CONTEXT_MAX, NULL, NULL,
     "positions to make room for (default: as many as ids)"},
    {'c', "context", "N", PERPLEXITY, OPTION_COUNT, FIELD(context), 2, LARIAT_CONTEXT_MAX, NULL, NULL,
     "tokens of a window (default: the trained length)"},
    {'c', "context", "N", INSPECT, OPTION_COUNT, FIELD(context), 1, LARIAT_CONTEXT_MAX, NULL, NULL,
     "print the memory of a context of N tokens (default: the trained length)"},

    {0, "temp", "X", REPLIES, OPTION_REAL, FIELD(temperature), 0, 100, "0", NULL,
     "temperature; 0 takes the likeliest token always"},
    {0, "top-k", "K", REPLIES, OPTION_COUNT, FIELD(top_k), 0, 1e9, "0", NULL, "sample from the K likeliest tokens; 0 is all"},
    {0, "top-p", "P", REPLIES, OPTION_REAL, FIELD(top_p), 0, 1, "1", NULL,
     "then from the smallest set whose probabilities reach P"},
    {0, "min-p", "P", REPLIES, OPTION_REAL, FIELD(min_p), 0, 1, "0", NULL,
     "then from those at least P times as likely as the likeliest"},
    {'s', "seed", "SEED", REPLIES, OPTION_SEED, FIELD(seed), 0, 0, NULL, NULL,
     "seed of the sampler; the same seed gives the same text (default: one is drawn and said); each line of a batch and each "
     "sample has random numbers of its own from it"},
    {0, "presence-penalty", "X", REPLIES, OPTION_REAL, FIELD(presence), -2, 2, "0", NULL,
     "taken from the logit of a token that the reply has, as in OpenAI's API"},
    {0, "frequency-penalty", "X", REPLIES, OPTION_REAL, FIELD(frequency), -2, 2, "0", NULL,
     "taken from it each time that the reply has the token, likewise"},
    {0, "repeat-penalty", "X", REPLIES, OPTION_REAL, FIELD(repeat), 0.01, 100, "1", NULL,
     "as llama.cpp's: logits of the last 64 tokens of prompt and reply are divided by X if positive, otherwise multiplied"},
    {0, "logit-bias", "ID=X", REPLIES, OPTION_TEXTS, FIELD(biases), 0, 0, NULL, NULL,
     "add X, from -100 to 100, to the logit of a token; up to 32 times"},
    {0, "stop", "TEXT", REPLIES, OPTION_TEXTS, FIELD(stops), 0, 0, NULL, NULL,
     "a reply ends before this text of at most 4096 bytes, which is not printed; up to 32 times"},
    {0, "logprobs", "K", GENERATE, OPTION_COUNT, FIELD(logprobs), 0, 20, NULL, NULL,
     "print the reply as a line of JSON, with each token's log-probability and its K most probable tokens"},
    {0, "samples", "N", GENERATE, OPTION_COUNT, FIELD(samples), 1, 128, "1", NULL,
     "reply N times to the prompt, which is read once, and print each reply as a line of JSON"},
    {0, "special", NULL, GENERATE, OPTION_FLAG, FIELD(special), 0, 0, NULL, NULL,
     "special tokens written in the prompt are control tokens, not text, and those that the model writes are shown"},
    {0, "special", NULL, TOKENIZE, OPTION_FLAG, FIELD(special), 0, 0, NULL, NULL,
     "special tokens written in the text become their ids (with --decode: are shown)"},

    {0, "system", "TEXT", CHAT, OPTION_TEXT, FIELD(system), 0, 0, NULL, NULL,
     "the system message (default: the template's, or none)"},
    {0, "template", "NAME|FILE", CHAT, OPTION_PATH, FIELD(chat_template), 0, 0, NULL, NULL,
     "the chat template: llama2, llama3, chatml, or a file with a Jinja template (default: the model's own)"},
    {'f', "file", "FILE.jinja", TEMPLATE, OPTION_PATH, FIELD(chat_template), 0, 0, NULL, NULL,
     "the chat template: a file, or llama2, llama3, chatml (default: the model's own)"},
    {0, "messages", "FILE.json", TEMPLATE, OPTION_PATH, FIELD(messages), 0, 0, NULL, NULL,
     "the conversation, a JSON list of messages {\"role\", \"content\", ...}; - is standard input"},
    {0, "var", "NAME=JSON", CHAT | TEMPLATE, OPTION_TEXTS, FIELD(variables), 0, 0, NULL, NULL,
     "a variable of the template, such as tools, enable_thinking=false or add_generation_prompt (true unless given); up to "
     "32 times"},
    {0, "now", "TIME", TEMPLATE, OPTION_TEXT, FIELD(now), 0, 0, NULL, NULL,
     "the time that the template sees, such as 2026-11-27T12:34:56 (default: the clock)"},
    {0, "no-stop-markers", NULL, REPLIES, OPTION_FLAG, FIELD(no_stop_markers), 0, 0, NULL, NULL,
     "a reply ends only at ids that the model's files name as ends, not at tokens whose text ends a turn (<|im_end|>, "
     "<|eot_id|>, <end_of_turn>, ...)"},

    {0, "out", "FILE", LOGITS, OPTION_PATH, FIELD(out), 0, 0, NULL, NULL,
     "the safetensors file to write: \"logits\" F32 [rows, vocabulary] and \"nll\" F64 [1], the mean next-token loss over all "
     "ids"},
    {0, "last", "K", LOGITS, OPTION_COUNT, FIELD(last), 1, TOKENS_MOST, NULL, NULL, "write the last K rows of logits only"},

    {0, "bos", NULL, TOKENIZE, OPTION_FLAG, FIELD(bos), 0, 0, NULL, NULL, "begin with the token that begins a text"},
    {0, "bos", NULL, PERPLEXITY, OPTION_FLAG, FIELD(bos), 0, 0, NULL, NULL,
     "every window begins with the token that begins a text, in place of its own first one"},
    {0, "second-half", NULL, PERPLEXITY, OPTION_FLAG, FIELD(second_half), 0, 0, NULL, NULL,
     "score the second half of each window only, and whole windows only, as llama.cpp's perplexity tool does; that takes --bos "
     "too where the tokenizer puts that token before a text"},
    {0, "jsonl", NULL, TOKENIZE, OPTION_FLAG, FIELD(jsonl), 0, 0, NULL, NULL,
     "one JSON string a line in, one JSON array of ids a line out"},
    {0, "decode", NULL, TOKENIZE, OPTION_FLAG, FIELD(decode), 0, 0, NULL, NULL, "the other way: ids in, their bytes out"},
    {0, "json", NULL, INSPECT, OPTION_FLAG, FIELD(json), 0, 0, NULL, NULL, "write one JSON object instead of text"},

    {'p', "prompt", "N,N...", BENCH, OPTION_LIST, FIELD(prompt_lengths), 0, TOKENS_MOST, "512", NULL,
     "prompt lengths, in tokens; in lists 1k..64k*2 is 1k and its doubles up to 64k, 1k..8k+1k goes in steps of 1k"},
    {'d', "depth", "N,N...", BENCH, OPTION_LIST, FIELD(depths), 0, TOKENS_MOST, "0", NULL,
     "tokens that are in the cache already when the clock starts"},
    {0, "batch", "N,N...", BENCH, OPTION_LIST, FIELD(batches), 1, LARIAT_SESSIONS_MAX, "1", NULL,
     "sequences that are read and continued together, each of so many tokens"},
    {0, "no-cache", NULL, BENCH, OPTION_FLAG, FIELD(no_cache), 0, 0, NULL, NULL,
     "read the whole text again for every token, as programs without a KV cache do"},
    {0, "compare", NULL, BENCH, OPTION_FLAG, FIELD(compare), 0, 0, NULL, NULL,
     "rings against regular attention, a ring of one: times, memory a rank, speed-up, the length from which the ring is "
     "faster, and whether both give the same tokens"},
    {0, "block", "N,N...", BENCH, OPTION_LIST, FIELD(blocks), 1, LARIAT_CHUNK_MAX, NULL, NULL,
     "most tokens of one pass for each rank: --chunk grows with the ring"},
    {0, "rank-threads", "N", BENCH, OPTION_COUNT, FIELD(rank_threads), 1, LARIAT_THREADS_MAX, NULL, NULL,
     "threads of each rank, in place of -t: a larger ring has more"},
    {'r', "reps", "N", BENCH, OPTION_COUNT, FIELD(reps), 1, 1000, "3", NULL,
     "rounds over all rows; medians are reported, and but for Markdown the least and the most"},
    {0, "warm-up", "N", BENCH, OPTION_COUNT, FIELD(warm_up), 0, 1000, "1", NULL,
     "runs before the clock starts, for every row and round"},
    {0, "resume", "FILE.jsonl", BENCH, OPTION_PATH, FIELD(resume), 0, 0, NULL, NULL,
     "keep every measurement in this file, and take from it those that an earlier run made of the same rows: go on where it "
     "was stopped"},
    {0, "plot", "FOLDER", BENCH, OPTION_PATH, FIELD(plot), 0, 0, NULL, NULL,
     "draw the rows into this folder, as SVG and PNG (needs gnuplot), with their data beside"},
    {'o', "format", "md|csv|json|jsonl", BENCH, OPTION_CHOICE, FIELD(format), 0, 0, "md", NULL, "how the table is written"},
    {0, "ceilings", NULL, BENCH, OPTION_FLAG, FIELD(ceilings), 0, 0, NULL, NULL,
     "measure this machine's peak rates and keep them for the last line of other runs: CPUs with -t threads (multiply-adds; "
     "reading memory, the cache and, with -m, a buffer as large as the weights), and one GPU of each kind, of --devices or all "
     "(large products of --dtype or the model's type, without either of bf16; reading memory). --device cpu or cuda measures "
     "these alone; without a model nothing else is run"},
    {0, "hops", NULL, BENCH, OPTION_FLAG, FIELD(hops), 0, 0, NULL, NULL,
     "measure the hops between the ranks instead, each kind by size; without a model"},

    {0, "ranks", "N", PLANS & ~(unsigned)BENCH, OPTION_COUNT, FIELD(ranks), 1, LARIAT_RANKS_MAX, NULL, "LARIAT_RANKS",
     "ranks of the ring (default: 1, or one for each GPU); under mpirun or srun of each process, and the ring has those of "
     "all"},
    {0, "ranks", "N,N...", BENCH, OPTION_LIST, FIELD(ring_sizes), 1, LARIAT_RANKS_MAX, NULL, "LARIAT_RANKS",
     "ring sizes (default: 1, with --compare and --hops 2); under mpirun or srun one number, the ranks of each process"},
    {'t', "threads", "T", PLANS, OPTION_COUNT, FIELD(threads), 1, LARIAT_THREADS_MAX, NULL, "LARIAT_THREADS",
     "threads in all, shared out over the ranks, at least one for each (default: one for each core that the process may use, "
     "as far as a CPU quota grants them); under mpirun or srun of each process (default: the processes of a host share its "
     "CPUs)"},
    {0, "mpi", "NAME", RINGS, OPTION_PATH, FIELD(mpi), 0, 0, NULL, "LARIAT_MPI",
     "a ring over processes: openmpi, mpich, or the path of Lariat's module for an MPI (default: that of the launcher, mpirun "
     "or srun; without a launcher none)"},
    {0, "timeout", "SECONDS", RINGS, OPTION_REAL, FIELD(timeout_s), 1, 86400, "30", "LARIAT_TIMEOUT",
     "a process that gives no sign of life for so long ends the run; computing may take any time"},
    {0, "verify", NULL, RINGS, OPTION_FLAG, FIELD(verify), 0, 0, NULL, NULL,
     "under mpirun or srun: compare all weights of the processes before loading them, not only 4 KiB of each tensor"},
    {0, "no-bind", NULL, PLANS, OPTION_FLAG, FIELD(no_bind), 0, 0, NULL, NULL,
     "let ranks run anywhere; otherwise, where there are several NUMA nodes, each is bound to the CPUs of one that has room "
     "for its threads (on GPUs: of its card's node), and on hybrid processors to the fast cores, where these are enough"},
    {0, "chunk", "N", PLANS & ~(unsigned)BENCH, OPTION_COUNT, FIELD(chunk), 1, LARIAT_CHUNK_MAX, NULL, "LARIAT_CHUNK",
     "most tokens of one pass through the model (default: 512 a rank, 4096 on GPUs)"},
    {0, "chunk", "N,N...", BENCH, OPTION_LIST, FIELD(chunks), 1, LARIAT_CHUNK_MAX, NULL, "LARIAT_CHUNK",
     "most tokens of one pass through the model (default: 512 a rank, 4096 on GPUs)"},
    {0, "kv", "auto|f16|bf16|f32|q8", PLANS & ~(unsigned)BENCH, OPTION_CHOICE, FIELD(kv), 0, 0, "auto", "LARIAT_KV",
     "element type of the KV cache; auto is f16 on CPUs and the type of activations on GPUs; q8 is codes of 8 bits with "
     "scales, half of f16"},
    {0, "kv", "auto|f16|bf16|f32|q8", BENCH, OPTION_CHOICES, FIELD(kvs), 0, 0, "auto", "LARIAT_KV",
     "element types of the KV cache, separated by commas; auto is f16 on CPUs and the type of activations on GPUs; q8 is "
     "codes of 8 bits with scales, half of f16"},
    {0, "device", "auto|cpu|cuda", PLANS & ~(unsigned)BENCH, OPTION_CHOICE, FIELD(device), 0, 0, "auto", "LARIAT_DEVICE",
     "the ranks' devices; auto takes GPUs if there are any that can be used"},
    {0, "device", "auto|cpu|cuda", BENCH, OPTION_CHOICES, FIELD(devices), 0, 0, "auto", "LARIAT_DEVICE",
     "the ranks' devices, separated by commas; auto takes GPUs if there are any that can be used"},
    {0, "devices", "N,N...", PLANS, OPTION_LIST, FIELD(cards), 0, LARIAT_CARDS_MAX - 1, NULL, "LARIAT_DEVICES",
     "the GPUs to use, by their numbers from 0 (default: all); ranks are dealt out over them in order"},
    {0, "dtype", "auto|bf16|f16|f32", PLANS, OPTION_CHOICE, FIELD(dtype), 0, 0, "auto", "LARIAT_DTYPE",
     "type of weights and activations on GPUs; auto is f16 for a model stored so, otherwise bf16; f32 is exact and slow. CPUs "
     "compute in f32"},
    {0, "via", "auto|host", PLANS, OPTION_CHOICE, FIELD(via), 0, 0, "auto", "LARIAT_VIA",
     "the way of hops between GPUs; auto goes from card to card where the machine allows it, otherwise through the host's "
     "memory; host takes that way always"},
    {0, "layout", "auto|tokens|slices", PLANS, OPTION_CHOICE, FIELD(layout), 0, 0, "auto", "LARIAT_LAYOUT",
     "how a pass is divided over the ring: each rank its tokens, or each rank its slice of every matrix; auto takes slices for "
     "short passes"},
    {0, "side", "auto|kv|q", PLANS, OPTION_CHOICE, FIELD(side), 0, 0, "auto", "LARIAT_SIDE",
     "which side of attention travels round the ring; auto takes the one that is predicted to be faster"},
    {0, "plan", NULL, RINGS, OPTION_FLAG, FIELD(plan), 0, 0, NULL, NULL,
     "print the run's memory and layout, and stop"},
    {0, "stats", "FILE.json", RUNS, OPTION_PATH, FIELD(stats), 0, 0, NULL, NULL,
     "write the figures of the run to a file; with --plan, the plan"},
    {0, "timeline", "FILE.svg", BENCH, OPTION_PATH, FIELD(timeline), 0, 0, NULL, NULL,
     "draw one layer of the last row: each rank's work, and its hops meanwhile"},
    {0, "trace", "FILE.json", GENERATE | BENCH, OPTION_PATH, FIELD(trace), 0, 0, NULL, NULL,
     "write a timeline of each rank, for Perfetto or chrome://tracing (bench: of one more run of the last row)"},
    {'q', "quiet", NULL, ALL, OPTION_FLAG, FIELD(quiet), 0, 0, NULL, NULL, "no progress and no figures on standard error"},
    {'v', "verbose", NULL, ALL, OPTION_FLAG, FIELD(verbose), 0, 0, NULL, NULL,
     "say more on standard error: the model and the plan"},
    {'h', "help", NULL, ALL, OPTION_FLAG, FIELD(help), 0, 0, NULL, NULL, "describe the subcommand"},
    {0, "version", NULL, ALL, OPTION_FLAG, FIELD(version), 0, 0, NULL, NULL, "print the version"},

    {0, "man", NULL, HELP, OPTION_FLAG, FIELD(man), 0, 0, NULL, NULL, "write the manual page (roff)"},
    {0, "completion", "bash|zsh|fish", HELP, OPTION_TEXT, FIELD(completion), 0, 0, NULL, NULL,
     "write the completions for a shell"},
};

_Static_assert(sizeof option_table / sizeof option_table[0] <= OPTIONS_MOST, "options.typed has an entry for each");
const int option_count = (int)(sizeof option_table / sizeof option_table[0]);

const command_text command_texts[COMMAND_COUNT] = {
    [COMMAND_GENERATE] =
        {"generate", "-m MODEL (-p TEXT | -f FILE | --tokens FILE | --prompts FILE.jsonl) [options]",
         "continue a text, or a batch of texts",
         "Without -p, -f, --tokens or --prompts the text is read from standard input. Standard output gets the continuation "
         "only, as it is made; a model without a tokenizer takes --tokens and prints ids. A reply ends at an "
         "end-of-sequence id of the model, at a token that ends a turn by its text, after -n tokens, or when the context is "
         "full, which is said."},
    [COMMAND_CHAT] = {"chat", "-m MODEL [-f DOCUMENT] [-p TEXT] [options]",
                      "talk with a model, about a long document if you like",
                      "The KV cache is kept between turns, so that a turn only reads its new tokens. Ctrl-C stops an answer, "
                      "Ctrl-D or /exit ends the talk; /help names the other commands. Lines typed are kept in "
                      "$XDG_STATE_HOME/lariat/history (~/.local/state). From a pipe, each line is a turn."},
    [COMMAND_LOGITS] = {"logits", "-m MODEL --tokens FILE --out FILE.safetensors [options]",
                        "write the logits of given tokens to a file", NULL},
    [COMMAND_PERPLEXITY] =
        {"perplexity", "-m MODEL (-f FILE | --tokens FILE) [options]", "measure how well a model predicts a text",
         "The text is cut into windows of -c tokens; every token but each window's first is scored, with --second-half those "
         "behind its middle. Prints the perplexity and its standard error; Ctrl-C ends it with those of the windows so far."},
    [COMMAND_TOKENIZE] =
        {"tokenize", "-m MODEL [-p TEXT | -f FILE] [options]", "turn text into token ids and back",
         "Without -p or -f the text is read from standard input. MODEL may be a directory that holds only a tokenizer. "
         "Invalid UTF-8 is read as U+FFFD; a byte-order mark at the beginning of a file or of standard input is left out, in "
         "the text of -p it is kept."},
    [COMMAND_TEMPLATE] =
        {"template", "[-m MODEL] [-f FILE.jinja] --messages FILE.json [--var NAME=JSON]... [--now TIME]",
         "print the prompt that a chat template makes of a conversation",
         "The template is run as transformers' apply_chat_template runs it; docs/templates.md lists the supported part of "
         "Jinja. bos_token and eos_token are the model's unless --var gives them."},
    [COMMAND_INSPECT] = {"inspect", "MODEL [options]", "print a model's configuration, tensors and memory", NULL},
    [COMMAND_BENCH] =
        {"bench", "-m MODEL [options] | --ceilings [-m MODEL] [-t T] [--device D] | --hops [options]",
         "measure prefill and decode, or the hops of a ring",
         "Each row: a prompt of n_prompt random tokens is read (prefill: until the first token of its reply is there), then "
         "n_gen tokens are decoded after that one. There is a row for every combination of the lists. Rows are measured in "
         "rounds, one sample each, so that drift affects all alike, and after Ctrl-C the rows measured so far are reported. A "
         "row that does not fit into memory says so. ceiling_share is the time that the machine's ceilings, measured in the "
         "same run, would allow (operations of the prefill at the peak of multiply-adds, plus weight bytes of the decode at "
         "the read rate, or without a cache its operations) over the time taken. On CPUs the peak is that of fp32 "
         "multiply-adds; on GPUs, all that a ring uses together, that of large dense products on tensor cores, in f32 of "
         "fp32 multiply-adds. Empty for more threads than CPUs, and where there was no memory to measure in. The table has "
         "the main columns; csv, json and jsonl have all, and the options that repeat a row.\n"
         "With --compare rings stand beside a ring of one, which is regular attention, in passes of the default length, or of "
         "--chunk. Below the table stands from which prompt length on a ring is faster.\n"
         "With --hops each row is a kind of hop and a size. keys: every rank takes bytes of the next one's memory, all at "
         "once; gather: every rank gives a block, and all get all, bytes in all. time_us is of one hop with nothing to hide "
         "it, by the slowest rank, min_us and max_us are the fastest and the slowest repetition. As in nccl-tests, algbw_gbs "
         "is bytes over time, and busbw_gbs its part from others: the same for keys, (ranks - 1) / ranks of it for "
         "gathers. share is busbw over the rate at which one rank's threads alone read as many bytes of their own; empty on "
         "GPUs."},
    [COMMAND_HELP] = {"help", "[SUBCOMMAND] [--man | --completion bash|zsh|fish]", "describe a subcommand, or all of them",
                      NULL},
};

bool option_is_typed(const options *v, const char *name)
{
    for (int i = 0; i < option_count; i++) {
        if (v->typed[i] && strcmp(option_table[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

bool option_applies(const option *o, command c)
{
    return (o->commands >> c & 1u) != 0;
}

const option *option_after(const option *o, command c)
{
    for (o = o ? o + 1 : option_table; o < option_table + option_count; o++) {
        if (option_applies(o, c)) {
            return o;
        }
    }
    return NULL;
}

bool option_is_common(const option *o)
{
    return option_applies(o, COMMAND_CHAT) && option_applies(o, COMMAND_LOGITS);
}
