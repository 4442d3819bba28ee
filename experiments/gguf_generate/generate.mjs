// Greedy tokens of llama.cpp, timed. Arguments: GGUF file, prompt ids as JSON, how many tokens, threads. Prints the seconds from
// the first new token to the last.
import {createRequire} from "module";
import {pathToFileURL} from "url";

const require = createRequire(process.env.PRENTICE_NODE_MODULES + "/");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(require.resolve("node-llama-cpp")).href);
const [path, prompt, count, threads] = process.argv.slice(2);
const llama = await getLlama({gpu: false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.error, maxThreads: Number(threads)});
const model = await llama.loadModel({modelPath: path, useMmap: true});
const context = await model.createContext({contextSize: 512, flashAttention: false, threads: Number(threads)});
let made = 0, begin = 0;
for await (const _ of context.getSequence().evaluate(JSON.parse(prompt), {temperature: 0, yieldEogToken: true})) {
  if (made++ === 0) begin = performance.now();
  if (made > Number(count)) break;
}
console.log((performance.now() - begin) / 1000);
process.exit(0);
