// Prints what the official parser of AsyncAPI says of a document: node check.cjs NODE_MODULES FILE
const fs = require("fs");
const { Parser } = require(`${process.argv[2]}/@asyncapi/parser`);

new Parser().parse(fs.readFileSync(process.argv[3], "utf8")).then(({ document, diagnostics }) => {
  const errors = diagnostics.filter((each) => each.severity === 0);
  const told = errors.map((each) => `${each.path.join("/")}: ${each.message}`);
  const operations = document ? document.operations().all().map((each) => [each.id(), each.action()]) : [];
  console.log(JSON.stringify({ errors: told, operations }));
});
