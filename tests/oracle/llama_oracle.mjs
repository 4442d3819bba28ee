// What llama.cpp makes of GGUF files: token ids of texts, and log-probabilities after id sequences.
// stdin: [{"path", "contextSize", "lora" (an adapter), "texts": [...], "special": [...], "sequences": [[ids], ...]}]
// The file named by the first argument receives [{"texts": [[ids]], "special": [[ids]], "log_probs": [[by id]], "bos", "eos"}]
// (A pipe would lose what process.exit does not wait for.) `special` texts are tokenized with special tokens recognised. PRENTICE_NODE_MODULES names the modules' folder.
import {createRequire} from "module";
import {pathToFileURL} from "url";
import {readFileSync, writeFileSync} from "fs";

const require = createRequire(process.env.PRENTICE_NODE_MODULES + "/");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(require.resolve("node-llama-cpp")).href);
const llama = await getLlama({gpu: false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.error});

async function logProbs(context, ids, vocabulary) {
  const sequence = context.getSequence();
  const input = ids.map((id, i) => (i + 1 < ids.length ? id : [id, {generateNext: {probabilities: true}}]));
  const output = await sequence.controlledEvaluate(input);
  const probabilities = output[ids.length - 1].next.probabilities;
  sequence.dispose();
  return Array.from({length: vocabulary}, (_, id) => Math.log(probabilities.get(id) ?? 0)).map((x) => (Number.isFinite(x) ? x : null));
}

const results = [];
for (const job of JSON.parse(readFileSync(0, "utf8"))) {
  const model = await llama.loadModel({modelPath: job.path, useMmap: true});
  const result = {bos: model.tokens.bos, eos: model.tokens.eos, log_probs: []};
  result.texts = (job.texts ?? []).map((text) => model.tokenize(text, false));
  result.special = (job.special ?? []).map((text) => model.tokenize(text, true));
  for (const ids of job.sequences ?? []) {
    const context = await model.createContext({contextSize: job.contextSize, flashAttention: false, threads: 2,
                                               experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32",
                                               ...(job.lora ? {lora: {adapters: [{filePath: job.lora, scale: 1}]}} : {})});
    result.log_probs.push(await logProbs(context, ids, job.vocabulary));
    await context.dispose();
  }
  await model.dispose();
  results.push(result);
}
writeFileSync(process.argv[2], JSON.stringify(results));
process.exit(0);
