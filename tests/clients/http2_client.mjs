// A client that speaks HTTP/2 alone, by node's own module, as one for hosted consoles does:
//
//     node http2_client.mjs URL USER PASSWORD [PATH ...]
//
// It logs in with its password, asks for all paths at once on the one connection, and prints one
// JSON object with everything it got.
import http2 from "node:http2";
import { argv } from "node:process";

const [url, username, password, ...paths] = argv.slice(2);
setTimeout(() => { throw new Error("no answer in 30 s"); }, 30_000).unref();

const session = http2.connect(url, { rejectUnauthorized: false });
session.on("error", (error) => { throw error; });

function ask(method, path, headers, body) {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":method": method, ":path": path, ...headers });
    const answer = { method, path, body: "", bytes: 0 };
    stream.on("response", (received) => {
      answer.status = received[":status"];
      answer.headers = { ...received };
    });
    stream.on("data", (chunk) => {
      answer.bytes += chunk.length;
      answer.body += chunk.toString("latin1");
    });
    stream.on("end", () => resolve(answer));
    stream.on("error", reject);
    stream.end(body);
  });
}

const form = new URLSearchParams({ grant_type: "password", username, password }).toString();
const formType = { "content-type": "application/x-www-form-urlencoded" };
const login = await ask("POST", "/api/v3/token", formType, form);
const said = JSON.parse(login.body);
if (!said.access_token) throw new Error(said.error_description || said.error);
const headers = {
  authorization: `Bearer ${said.access_token}`,
  "content-type": "application/json",
  accept: "application/json",
};
const answers = await Promise.all(paths.map((path) => ask("GET", path, headers)));
session.close();
console.log(JSON.stringify({ answers: [login, ...answers] }));
