// Asks Microsoft's language service for Azure Pipelines what is wrong with each file: {path: ["line: message"]}.
// Arguments: the schema, then the files.
const fs = require("fs");
const { getLanguageService } = require("azure-pipelines-language-service");
const { parse } = require("azure-pipelines-language-service/lib/parser/yamlParser");
const { TextDocument } = require("vscode-languageserver-types");

console.log = () => {}; // it tells what it does; the answer is written to stdout
const [schemaFile, ...files] = process.argv.slice(2);
const schema = JSON.parse(fs.readFileSync(schemaFile, "utf8"));
const uri = "file:///schema.json";
const service = getLanguageService(async () => schema, [], async () => uri, { resolveRelativePath: (a) => a }, Promise);
service.configure({ validate: true, schemas: [{ uri, fileMatch: ["*"], schema }] });

(async () => {
  const found = {};
  for (const file of files) {
    const text = fs.readFileSync(file, "utf8");
    const problems = await service.doValidation(TextDocument.create(uri, "azure-pipelines", 1, text), parse(text));
    found[file] = problems.map((one) => `${one.range.start.line + 1}: ${one.message}`);
  }
  process.stdout.write(JSON.stringify(found));
})().catch((error) => {
  console.error(error);
  process.exit(2);
});
