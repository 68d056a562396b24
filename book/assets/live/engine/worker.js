/* The engine in a thread of its own, for pages that a server sends: pages from disk may not start one, and use engine.run.

     in    {id, model, call: "translate", "write", "trace" …, input: [what the function takes after the model]}
           {id, stop: true}
     out   {id, step} for all that is yielded on the way, then {id, result}, or nothing more once it is stopped;
           {id, error}: why there can be no result, such as weights that do not come */
importScripts("tensors.js", "tokenizer.js", "weights.js", "model.js", "search.js", "translate.js", "write.js");
(() => {
  const models = {}; // by name, as promises
  const running = {}; // AbortControllers, by id

  function loaded(model) {
    if (!models[model]) importScripts(`../weights/${model}.js`);
    return (models[model] ??= engine.run(engine.load(model)));
  }

  globalThis.onmessage = async ({ data: { id, model, call, input, stop } }) => {
    if (stop) return running[id]?.abort();
    const { signal } = (running[id] = new AbortController());
    try {
      const work = engine[call](await loaded(model), ...input);
      const result = await engine.run(work, { signal, each: (step) => postMessage({ id, step }) });
      if (result) postMessage({ id, result });
    } catch (error) {
      postMessage({ id, error: error.message });
    }
    delete running[id];
  };
})();
