/* Lighthouse on one page after the other, in the browser at a port, in one process: to start it takes seconds.

       node lighthouse.mjs '{"port": …, "addresses": […], "categories": […], "longest": …}'

   prints a list, for each page what Lighthouse reports: its categories and audits. */
import lighthouse from "lighthouse";

const { port, addresses, categories, longest } = JSON.parse(process.argv[2]);
const quiet = 250; // milliseconds without network or work, after which a page counts as loaded: it comes from this machine
const options = {
  ...{ port, logLevel: "error", onlyCategories: categories, disableFullPageScreenshot: true },
  ...{ maxWaitForFcp: longest, maxWaitForLoad: longest, pauseAfterFcpMs: quiet, pauseAfterLoadMs: quiet },
  ...{ networkQuietThresholdMs: quiet, cpuQuietThresholdMs: quiet },
};
const reports = [];
for (const address of addresses) {
  const { categories, audits, runtimeError } = (await lighthouse(address, options)).lhr;
  if (runtimeError) throw new Error(`${address}: ${runtimeError.message}`);
  reports.push({ categories, audits });
}
console.log(JSON.stringify(reports));
