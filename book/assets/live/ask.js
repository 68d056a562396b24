/* Ask a model of the book, which comes when it is first asked: in a thread of its own where a server sends the page, and in
   slices of the page's own time where the page lies on a disk, for there no page may start a thread. */
(() => {
  const { make } = live;
  const HERE = document.currentScript.src.replace(/[^/]*$/, "");
  const ENGINE = ["tensors", "tokenizer", "weights", "model", "search", "translate", "write"];
  const models = {}; // promises, by name
  const listeners = {}; // of each model, as long as its weights are on their way: functions of the share that is there
  const asked = {}; // what the thread has not answered yet, by id
  let thread, id = 0, engineHere;

  function script(path) {
    return new Promise((resolve, reject) => {
      const element = make("script", { src: HERE + path });
      element.onload = resolve;
      element.onerror = () => reject(new Error(`${path} did not come: is the folder of the pages complete?`));
      document.head.append(element);
    });
  }

  /* Bring a model's weights into the browser's cache, and tell the listeners how much of them is there. */
  async function fetched(model) {
    const { ok, body } = await fetch(`${HERE}weights/${model}.js`).catch(() => ({ ok: false })); // as without a network
    if (!ok) throw new Error(`the weights of ${model} did not come: is there a network, and is the folder of the pages complete?`);
    const all = document.querySelector(`[data-model="${model}"]`)?.dataset.bytes; // a server that compresses tells less
    let got = 0;
    for (const reader = body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      got += value.length;
      if (got < all) for (const listen of listeners[model]) listen(got / all);
    }
  }

  /* A model in this thread. */
  async function here(model) {
    await (engineHere ??= ENGINE.reduce((before, part) => before.then(() => script(`engine/${part}.js`)), Promise.resolve()));
    await script(`weights/${model}.js`);
    return engine.run(engine.load(model));
  }

  function answered({ data: { id, step, result, error } }) {
    if (!asked[id]) return;
    const { each, resolve, reject } = asked[id];
    if (step) return each(step);
    error ? reject(new Error(error)) : resolve(result);
    delete asked[id];
  }

  /* The thread itself did not come, or broke: nothing that was asked will be answered. */
  function failed() {
    for (const [id, { reject }] of Object.entries(asked)) {
      reject(new Error("the engine did not come: is the folder of the pages complete?"));
      delete asked[id];
    }
    thread = undefined; // to be tried again
  }

  /* Call a generator of the engine in the thread. */
  function inThread(model, call, input, { each = () => {}, signal } = {}) {
    if (!thread) {
      thread = new Worker(`${HERE}engine/worker.js`);
      thread.onmessage = answered;
      thread.onerror = failed;
    }
    const mine = ++id;
    return new Promise((resolve, reject) => {
      asked[mine] = { each, resolve, reject };
      signal?.addEventListener("abort", () => {
        thread.postMessage({ id: mine, stop: true });
        delete asked[mine];
        resolve(undefined);
      });
      thread.postMessage({ id: mine, model, call, input });
    });
  }

  /* Call engine.translate, engine.trace or another generator of the engine with a model and further input. each(step) gets
     what comes on the way, and progress(share) how much of the weights is there: undefined where it cannot be told, and 1
     when they have been read. Resolves to the result, or to undefined after an AbortSignal. */
  async function ask(model, call, input, { each = () => {}, progress = () => {}, signal } = {}) {
    const served = location.protocol !== "file:";
    const listening = (listeners[model] ??= new Set()).add(progress); // who asks while others wait hears of it, too
    // The thread reads the weights when it is first asked, which takes a while after they have come.
    models[model] ??= served ? fetched(model).then(() => inThread(model, "vocabulary", [])) : here(model);
    const loaded = await models[model]
      .catch((error) => {
        delete models[model]; // to be tried again
        throw error;
      })
      .finally(() => listening.delete(progress));
    progress(1);
    if (signal?.aborted) return undefined;
    if (!served) return engine.run(engine[call](loaded, ...input), { each, signal });
    return inThread(model, call, input, { each, signal });
  }

  /* What a figure asks its model with: ask(call, input, {each}), one question at a time, since a new one stops the old, which
     then resolves to undefined. A line of the figure shows that the model is on its way, and what went wrong; the figure is
     busy until there is an answer. */
  function asker(figure) {
    const bar = make("progress", { max: 1, "aria-label": "the model is on its way" });
    const told = make("span", { role: "status" }), line = make("p", { class: "live-status" }, bar, told);
    let last;
    const busy = (is) => figure.setAttribute("aria-busy", is);
    const stop = () => {
      last?.abort();
      busy(false);
    };
    const tell = (text) => {
      bar.hidden = true;
      told.textContent = text;
    };
    const wait = (share) => {
      tell("The model is on its way …");
      bar.hidden = false;
      if (share === undefined) bar.removeAttribute("value");
      else bar.value = share;
    };
    async function question(call, input, { each = () => {} } = {}) {
      stop();
      busy(true);
      const { signal } = (last = new AbortController());
      const soon = setTimeout(() => signal.aborted || wait(), 200);
      const progress = (share) => {
        if (share === 1) clearTimeout(soon);
        if (!signal.aborted) share === 1 ? tell("") : wait(share);
      };
      try {
        const result = await ask(figure.dataset.model, call, input, { each, progress, signal });
        return signal.aborted ? undefined : result;
      } catch (error) {
        clearTimeout(soon);
        if (!signal.aborted) tell(`This did not work: ${error.message}`);
        return undefined;
      } finally {
        if (!signal.aborted) busy(false);
      }
    }
    tell("");
    return Object.assign(question, { tell, stop, place: (after) => after.after(line) });
  }

  Object.assign(live, { ask, asker });
})();
