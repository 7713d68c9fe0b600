"use strict";
// Draws the charts, switches checkpoints on and off, and fills the table of all numbers. No network, no storage.
(() => {
  const byId = (id) => document.getElementById(id);
  const views = new Map();
  const element = (tag, text, attributes = {}) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  // --- the data, packed as `packing.py` says -----------------------------------------------------------------------
  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const all = new Uint8Array(await new Response(stream).arrayBuffer());
    const arrays = 4 + new DataView(all.buffer).getUint32(0, true);
    const data = JSON.parse(new TextDecoder().decode(all.subarray(4, arrays)));
    const array = ({ kind, start, count }) => {
      const raw = new Uint8Array(4 * count);
      for (let byte = 0, from = arrays + start; byte < 4; byte++) for (let i = byte; i < raw.length; i += 4) raw[i] = all[from++];
      return kind === "f" ? new Float32Array(raw.buffer) : new Int32Array(raw.buffer);
    };
    for (const holder of [...data.table.variables, ...data.differences.quantities])
      for (const key of ["steps", "value", "lower", "upper", "half"]) if (holder[key]) holder[key] = array(holder[key]);
    return data;
  }

  // --- charts ---------------------------------------------------------------------------------------------------
  const pause = () => new Promise((resolve) => { // unlike a timer, not held back in a tab in the background
    const channel = new MessageChannel();
    channel.port1.onmessage = () => { channel.port1.close(); resolve(); };
    channel.port2.postMessage(null);
  });

  async function drawAll(specs) {
    for (const place of document.querySelectorAll("[data-chart]")) {
      try {
        const drawn = await window.vegaEmbed(place, specs[place.dataset.chart], { actions: false, renderer: "svg" });
        drawn.view.logLevel(1); // errors only: a chart may well run empty when checkpoints are switched off
        views.set(place.dataset.chart, drawn.view);
      } catch (error) {
        place.replaceChildren(element("p", `This chart could not be drawn: ${error.message}`, { class: "failed" }));
        console.error(error);
      }
      await pause(); // lets the page answer between charts
    }
  }

  // --- which checkpoints are shown --------------------------------------------------------------------------------
  function toggles(names) {
    const panel = byId("choose");
    if (!panel) return;
    const boxes = [...panel.querySelectorAll("input[type=checkbox]")];
    const apply = async () => {
      const hidden = new Set();
      for (const box of boxes) if (!box.checked) box.dataset.names.split(" ").forEach((i) => hidden.add(names[i]));
      byId("shown-count").textContent = `${names.length - hidden.size} of ${names.length}`;
      for (const view of views.values()) await view.signal("hidden", [...hidden]).runAsync();
    };
    panel.addEventListener("change", apply);
    byId("show-all").addEventListener("click", () => {
      boxes.forEach((box) => { box.checked = true; });
      apply();
    });
    panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { panel.open = false; panel.querySelector("summary").focus(); }
    });
    document.addEventListener("click", (event) => { if (!panel.contains(event.target)) panel.open = false; });
  }

  // --- paired differences -----------------------------------------------------------------------------------------
  function differences(data) {
    const quantity = byId("difference-quantity"), reference = byId("difference-reference");
    if (!quantity) return;
    data.quantities.forEach((item, i) => quantity.append(element("option", item.title, { value: i })));
    const references = () => {
      const item = data.quantities[quantity.value], kept = reference.value;
      reference.replaceChildren(...item.checkpoints.map((at, i) => element("option", data.rows[at].checkpoint, { value: i })));
      reference.value = item.checkpoints.length > Number(kept) && kept !== "" ? kept : item.reference;
    };
    const show = async () => {
      const item = data.quantities[quantity.value], from = Number(reference.value), size = item.checkpoints.length;
      const rows = item.checkpoints.map((at, i) => {
        const low = Math.min(i, from), cell = low * size - (low * (low + 3)) / 2 + Math.max(i, from) - 1;
        const value = i < from ? item.value[cell] : -item.value[cell], half = item.half[cell];
        return { ...data.rows[at], quantity: item.title, value, lower: value - half, upper: value + half };
      }).filter((row, i) => i !== from && Number.isFinite(row.lower));
      const apart = rows.filter((row) => row.lower > 0 || row.upper < 0).length;
      byId("difference-status").textContent = `${apart} of ${rows.length} intervals exclude 0`;
      const view = views.get("differences-0");
      if (view) await view.data("rows", rows).runAsync();
    };
    quantity.addEventListener("change", () => { reference.value = ""; references(); show(); });
    reference.addEventListener("change", show);
    references();
    return show();
  }

  // --- the table of all numbers -------------------------------------------------------------------------------------
  const PAGE = 25;
  const COLUMNS = [
    ["Quantity", (r) => (r.variable.units ? `${r.variable.title} (${r.variable.units})` : r.variable.title), "long"], ["Image set", (r) => r.data], ["Checkpoint", (r) => r.checkpoint.name, "long"],
    ["Ratio", (r) => r.checkpoint.ratio, "n"], ["Patch", (r) => r.checkpoint.patch, "n"], ["Seed", (r) => r.checkpoint.seed, "n"],
    ["Layer", (r) => r.layer, "n"], ["Choice", (r) => r.choice, "long"], ["Value", (r) => r.value, "n"],
    ["95 % interval", (r) => r.lower, "n"],
  ];

  const known = (numbers, i) => (numbers && Number.isFinite(numbers[i]) ? numbers[i] : null);

  function unpack(table) {
    const rows = [];
    for (const variable of table.variables) {
      const sizes = variable.dims.map((dim) => dim.labels.length);
      let flat = 0;
      variable.steps.forEach((step, i) => {
        flat += step;
        const place = [];
        for (let rest = flat, d = sizes.length - 1; d >= 0; d--) { place[d] = rest % sizes[d]; rest = Math.floor(rest / sizes[d]); }
        const label = (d) => variable.dims[d].labels[place[d]];
        const row = {
          variable, checkpoint: table.checkpoints[place[0]], data: table.data[place[1]], layer: null, value: variable.value[i],
          lower: known(variable.lower, i), upper: known(variable.upper, i), last: true,
        };
        const words = [];
        for (let d = 2; d < sizes.length; d++) {
          if (variable.dims[d].name === "layer") row.layer = label(d);
          else words.push(`${variable.dims[d].name} ${label(d)}`);
        }
        row.choice = words.join(", ");
        row.text = `${variable.title} ${variable.name} ${row.data} ${row.checkpoint.name} ${row.choice}`.toLowerCase();
        if (row.layer !== null) row.last = row.layer === row.checkpoint.last;
        rows.push(row);
      });
    }
    return rows;
  }

  const format = (value) => (value === null || value === undefined ? "" : typeof value === "number" ? String(value).replace("-", "−") : value);
  const digits = (value) => (Math.abs(value) < 1e4 && (value === 0 || Math.abs(value) >= 1e-3) ? value.toPrecision(4) : String(Number(value.toPrecision(5)))).replace("-", "−");
  const interval = (row) => (row.lower === null ? `none: ${row.variable.none}` : `${digits(row.lower)} to ${digits(row.upper)}`);

  function numbers(table) {
    const body = document.querySelector("#numbers-table tbody"), head = document.querySelector("#numbers-table thead tr");
    if (!body) return;
    const rows = unpack(table);
    const state = { column: -1, down: false, page: 0, found: rows };
    const inputs = { quantity: byId("filter-quantity"), data: byId("filter-data"), checkpoint: byId("filter-checkpoint") };
    table.variables.forEach((v) => inputs.quantity.append(element("option", v.title, { value: v.name })));
    table.data.forEach((name) => inputs.data.append(element("option", name, { value: name })));
    table.checkpoints.forEach((c) => inputs.checkpoint.append(element("option", c.name, { value: c.name })));

    const draw = () => {
      const pages = Math.max(1, Math.ceil(state.found.length / PAGE));
      state.page = Math.min(Math.max(state.page, 0), pages - 1);
      body.replaceChildren(...state.found.slice(state.page * PAGE, (state.page + 1) * PAGE).map((row) => {
        const line = element("tr");
        for (const [title, get, kind] of COLUMNS) {
          const isInterval = title === "95 % interval";
          const cell = element("td", isInterval ? interval(row) : title === "Value" ? digits(row.value) : format(get(row)));
          if (kind) cell.className = isInterval && row.lower === null ? "reason" : kind;
          line.append(cell);
        }
        return line;
      }));
      byId("number-status").textContent = `${state.found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} numbers`;
      byId("page-status").textContent = `Page ${state.page + 1} of ${pages}`;
      byId("page-back").disabled = state.page === 0;
      byId("page-next").disabled = state.page === pages - 1;
    };
    const compare = (a, b) => (a === null || a === undefined) - (b === null || b === undefined) || (typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
    let waiting;
    const update = () => {
      clearTimeout(waiting); // else what was typed a moment ago would turn back a page turned since
      const words = byId("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
      const last = byId("filter-last").checked;
      state.found = rows.filter((row) => (!last || row.last)
        && (!inputs.quantity.value || row.variable.name === inputs.quantity.value)
        && (!inputs.data.value || row.data === inputs.data.value)
        && (!inputs.checkpoint.value || row.checkpoint.name === inputs.checkpoint.value)
        && words.every((word) => row.text.includes(word)));
      if (state.column >= 0) {
        const get = COLUMNS[state.column][1];
        const empty = (row) => get(row) === null || get(row) === undefined;
        const some = state.found.filter((row) => !empty(row)).sort((a, b) => compare(get(a), get(b)));
        if (state.down) some.reverse();
        state.found = some.concat(state.found.filter(empty)); // what has no value stays last, either way
      }
      state.page = 0;
      draw();
    };
    COLUMNS.forEach(([title, , kind], i) => {
      const cell = element("th", undefined, { scope: "col", "aria-sort": "none", class: kind === "n" ? "n" : "" });
      const button = element("button", title, { type: "button" });
      button.addEventListener("click", () => {
        state.down = state.column === i ? !state.down : false;
        state.column = i;
        [...head.children].forEach((other, j) => other.setAttribute("aria-sort", j === i ? (state.down ? "descending" : "ascending") : "none"));
        update();
      });
      cell.append(button);
      head.append(cell);
    });
    byId("filter-text").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(update, 120); });
    for (const input of [...Object.values(inputs), byId("filter-last")]) input.addEventListener("change", update);
    byId("page-back").addEventListener("click", () => { state.page -= 1; draw(); });
    byId("page-next").addEventListener("click", () => { state.page += 1; draw(); });
    update();
  }

  const FEW = 6; // the records of a whole grid would be twenty pages; they are in the results file too
  window.addEventListener("beforeprint", () => { // on paper nothing can be unfolded
    const records = [...document.querySelectorAll("details.record")];
    if (records.length <= FEW) records.forEach((record) => { record.open = true; });
  });

  async function start() {
    const data = await unpacked(byId("page-data").textContent);
    window.probekit = data; // to look at from the console
    await pause(); // lets the page be shown before it is filled
    numbers(data.table);
    await drawAll(data.charts);
    toggles(data.names);
    await differences(data.differences);
    document.documentElement.dataset.drawn = "yes";
  }
  start().catch((error) => {
    const words = window.DecompressionStream ? error.message : "this browser is too old (it has no DecompressionStream)";
    byId("answer").append(element("p", `Charts and tables cannot be shown: ${words}.`, { class: "failed" }));
    document.documentElement.dataset.drawn = "failed";
    throw error;
  });
})();
