// Scores rows with a graph of `upland export`: node score.mjs model.onnx columns.json
// columns.json holds a list of cells for each column, null where missing: {"flow": [9.5, null], "valve": ["open", "shut"]}
import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";

const [model, file] = process.argv.slice(2);
const session = await InferenceSession.create(model);
const columns = JSON.parse(readFileSync(file, "utf8"));
const feeds = {};
for (const { name, type } of session.inputMetadata) {
  const cells = columns[name].map((cell) => cell ?? (type === "string" ? "" : NaN));
  feeds[name] = new Tensor(type, type === "string" ? cells : Float64Array.from(cells), [cells.length]);
}
const { anomaly_score, p_value, is_anomaly } = await session.run(feeds);
const found = { anomaly_score: [...anomaly_score.data], p_value: [...p_value.data], is_anomaly: [...is_anomaly.data].map(Boolean) };
console.log(JSON.stringify(found));
