/* What the scripts of the pages are checked for: names that nobody defines or uses, and slips that ESLint knows. */
const js = require("@eslint/js");
const globals = require("globals");

const own = { bookKept: "readonly", engine: "readonly", live: "readonly" }; // what scripts of the book give each other

module.exports = [
  js.configs.recommended,
  {
    languageOptions: { sourceType: "script", globals: { ...globals.browser, ...globals.worker, ...own } },
    rules: { eqeqeq: "error", "no-var": "error", "prefer-const": ["error", { destructuring: "all" }] },
  },
];
