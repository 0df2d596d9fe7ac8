// What the page shows: an item with its latents and neighbours, a latent with its items, latents by how often they
// are used. The address says which (#item=…, #latent=…), so that it can be kept, and gone back from.

const TOP = 10, ITEMS = 7, LATENTS = 5, LIKE = 12, CHIPS = 80, BARS = 12;
let data, codes, sheet, lowered, order, rank;
let item = -1, own = null, before = null, steered = null, compared = -1, bar = -1;

function made(tag, text, name) {
  const one = document.createElement(tag);
  if (text !== undefined) one.textContent = text;
  if (name) one.className = name;
  return one;
}

const number = (n, digits = 0) => n.toLocaleString("en", { maximumFractionDigits: digits });
const signed = (n) => (n < 0 ? "−" : "+") + Math.abs(n).toFixed(3);
const percent = (share) => `${number(100 * share, share < 0.001 ? 3 : share < 0.1 ? 2 : 0)} %`;
const text = (row) => { const one = made("bdi", data.texts[row]); one.dir = "auto"; return one; };

function say(error) {
  at("error").hidden = !error;
  at("error").textContent = error ? error.message : "";
}

// The words that tell the items of a latent, of one sign.
function words(latent, sign) {
  const size = data.spelled.length / data.latents.length / 2, first = (2 * latent + (sign < 0)) * size;
  return [...data.spelled.slice(first, first + size)].filter((one) => one).map((one) => data.words[one - 1]);
}

function called(latent, sign) {
  const own = words(latent, sign);
  if (own.length) return own.join(", ");
  const { best } = codes.strongest(latent, sign, 1);
  return best.length ? data.texts[best[0][0]].slice(0, 40) : "nothing here";
}

// Of both signs, that of more items.
function sign(latent) {
  let sum = 0;
  for (let p = codes.starts[latent]; p < codes.starts[latent + 1]; p++) sum += Math.sign(codes.weights[p]);
  return sum < 0 ? -1 : 1;
}

function link(row) {
  const one = made("a");
  one.append(text(row));
  one.href = `#item=${row}`;
  return one;
}

function chip(latent, by, told) {
  const one = made("a", undefined, by < 0 ? "chip minus" : "chip plus");
  one.href = `#latent=${data.latents[latent]}`;
  const name = made("bdi", called(latent, by));
  one.append(made("b", `${data.latents[latent]}`), name, made("span", told, "score"));
  return one;
}

// A field whose list says what could be meant.
function combobox(field, list, find, take) {
  let found = [], chosen = -1;
  const close = () => {
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
    found = [];
    chosen = -1;
  };
  const choose = (place) => {
    chosen = place;
    [...list.children].forEach((one, i) => one.setAttribute("aria-selected", String(i === place)));
    if (place < 0) return;
    field.setAttribute("aria-activedescendant", list.children[place].id);
    list.children[place].scrollIntoView({ block: "nearest" });
  };
  const look = () => {
    const part = field.value.trim();
    if (!part) { say(null); return close(); }
    found = find(part);
    say(found.length ? null : new Error(`nothing has “${part}” in its name`));
    list.replaceChildren(...found.map((one, i) => {
      const row = made("li");
      row.id = `${list.id}-${i}`;
      row.setAttribute("role", "option");
      row.append(...one.shown);
      row.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
      row.addEventListener("click", () => { take(one); close(); });
      return row;
    }));
    list.hidden = !found.length;
    field.setAttribute("aria-expanded", String(found.length > 0));
    choose(-1);
  };
  const submit = () => {
    if (!found.length) look();
    if (found.length) { take(found[Math.max(chosen, 0)]); close(); }
  };
  field.addEventListener("input", look);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if ((event.key === "ArrowDown" || event.key === "ArrowUp") && found.length) {
      event.preventDefault();
      choose((chosen + (event.key === "ArrowDown" ? 1 : found.length - 1 + (chosen < 0))) % found.length);
    }
  });
  field.addEventListener("blur", close);
  field.form.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
}

function itemsNamed(part, most) {
  const wanted = part.toLowerCase(), first = [], others = [];
  for (let row = 0; row < codes.n && first.length < most; row++) {
    const place = lowered[row].indexOf(wanted);
    if (place === 0) first.push(row);
    else if (place > 0 && others.length < most) others.push(row);
  }
  return [...first, ...others].slice(0, most).map((row) => ({ row, shown: [text(row)] }));
}

function latentsNamed(part, most) {
  const wanted = part.toLowerCase(), found = [];
  const shown = (latent, by) => [
    made("span", `latent ${data.latents[latent]} ${by < 0 ? "−" : "+"}`, by < 0 ? "tag minus" : "tag plus"),
    made("bdi", called(latent, by)),
  ];
  const numbered = /^#?\d+$/.test(part) ? data.latents.indexOf(Number(part.replace("#", ""))) : -1;
  if (numbered >= 0) found.push({ latent: numbered, by: sign(numbered), shown: shown(numbered, sign(numbered)) });
  for (const exact of [true, false]) {
    for (const latent of order) {
      for (const by of [1, -1]) {
        if (found.length >= most) return found;
        const own = words(latent, by), met = exact ? own[0] === wanted || own[1] === wanted : own.some((one) => one.startsWith(wanted));
        if (met && !found.some((one) => one.latent === latent && one.by === by)) {
          found.push({ latent, by, shown: shown(latent, by) });
        }
      }
    }
  }
  return found;
}

// Items before latents, unless a number is typed, which is a latent's.
function named(part) {
  const both = [itemsNamed(part, ITEMS), latentsNamed(part, LATENTS)];
  return (/^#?\d+$/.test(part) ? both.reverse() : both).flat();
}

const go = (hash) => {
  if (location.hash === hash) show();
  else location.hash = hash;
};

function show() {
  const asked = new URLSearchParams(location.hash.slice(1));
  say(null);
  const row = Number(asked.get("item") ?? -1), latent = data.latents.indexOf(Number(asked.get("latent") ?? -1));
  const isItem = Number.isInteger(row) && row >= 0 && row < codes.n;
  if (asked.has("item") && !isItem) say(new Error(`there is no item ${asked.get("item")} on this page`));
  if (asked.has("latent") && latent < 0) say(new Error(`no item of this page uses a latent ${asked.get("latent")}`));
  at("item-view").hidden = !isItem;
  at("latent-view").hidden = isItem || latent < 0;
  at("browse-view").hidden = isItem || (latent >= 0 && bar < 0);
  if (isItem) showItem(row);
  else if (latent >= 0) showLatent(latent);
  else { sheet.mark({}); legend("A point is an item; point at it to read its name, press to open it."); }
  bars();
}

function legend(...parts) { at("legend").replaceChildren(...parts); }

// An item.

function showItem(row) {
  item = row;
  bar = -1;
  own = codes.query(row);
  before = new Map(codes.nearest(own, TOP, row).map(([other], i) => [other, i]));
  steered = new Map(own);
  compared = -1;
  at("item").replaceChildren(text(row));
  document.title = data.texts[row];
  latentRows();
  follow();
}

function latentRows() {
  const most = 1.5 * Math.max(...[...own.values()].map(Math.abs), 0.1);
  at("latents").replaceChildren(...[...steered].map(([latent, weight]) => {
    const one = made("div", undefined, "latent"), label = made("a", undefined, "name"), slider = made("input");
    one.dataset.latent = latent;
    one.setAttribute("role", "listitem");
    label.href = `#latent=${data.latents[latent]}`;
    slider.type = "range";
    Object.assign(slider, { min: -most, max: most, step: most / 200, value: weight });
    slider.addEventListener("input", () => {
      const moved = Number(slider.value);
      steered.set(latent, Math.abs(moved) < most / 40 ? 0 : moved); // it rests at nothing
      follow();
    });
    one.append(label, slider, made("output"), made("span", undefined, "adds"));
    return one;
  }));
}

// Everything that depends on the weights, after each move of a slider.
function follow() {
  const near = codes.nearest(steered, TOP, item);
  const moved = [...steered].some(([latent, weight]) => weight !== (own.get(latent) ?? 0)) || steered.size !== own.size;
  if (compared < 0 || !near.some(([row]) => row === compared)) compared = near.length ? near[0][0] : -1;
  at("reset").hidden = !moved;
  at("near-title").textContent = moved ? "Nearest items as steered" : "Nearest items";
  at("near").replaceChildren(...near.map(([row, score], i) => {
    const one = made("li", undefined, row === compared ? "compared" : ""), why = made("button", "why?", "why");
    const right = made("span", undefined, "right");
    why.type = "button";
    why.setAttribute("aria-pressed", String(row === compared));
    why.setAttribute("aria-label", `why? ${data.texts[row]}`);
    why.addEventListener("click", () => {
      compared = row;
      follow();
      at("near").children[i].querySelector("button").focus({ preventScroll: true });
      if (matchMedia("(max-width: 75rem)").matches) at("made-title").scrollIntoView(); // else it is beside it
    });
    right.append(made("span", score.toFixed(3), "score"), why);
    const was = before.get(row);
    if (moved && was !== i) {
      const told = was === undefined ? "new" : was > i ? `↑${was - i}` : `↓${i - was}`;
      right.prepend(made("span", told, "moved"));
    }
    one.append(right, link(row));
    return one;
  }));
  at("now").hidden = !moved;
  at("now").replaceChildren("Now nearest:", ...near.slice(0, 3).map(([row]) => text(row)));
  if (!near.length) at("near").append(made("li", "A query without any latent has no direction, and nothing is near it."));
  adds();
  sheet.mark({ item, near: near.map(([row]) => row) });
  const ringed = made("span", "●", "minus"), dots = made("span", "●", "plus");
  legend(ringed, " this item, ", dots, " its nearest items", moved ? " as steered" : "");
}

function adds() {
  const found = compared < 0 ? new Map() : codes.added(steered, compared);
  const most = Math.max(...[...found.values()].map(Math.abs), 1e-9);
  let sum = 0;
  for (const one of at("latents").children) {
    const latent = Number(one.dataset.latent), weight = steered.get(latent), by = found.get(latent) ?? 0;
    const [name, slider, told, added] = one.children;
    sum += by;
    const shown = weight || own.get(latent) || 1;
    name.replaceChildren(made("b", `${data.latents[latent]}`), made("bdi", called(latent, shown)));
    name.className = `name ${shown < 0 ? "minus" : "plus"}`;
    slider.setAttribute("aria-label", `weight of latent ${data.latents[latent]}, ${called(latent, shown)}`);
    if (Number(slider.value) !== weight && document.activeElement !== slider) slider.value = weight;
    told.textContent = signed(weight);
    told.classList.toggle("changed", weight !== (own.get(latent) ?? 0));
    added.textContent = compared < 0 ? "" : signed(by);
    added.style.setProperty("--part", Math.abs(by) / most);
    added.classList.toggle("minus", by < 0);
  }
  at("sum").replaceChildren();
  if (compared >= 0) {
    at("sum").append("Adds: its part of the similarity with “", text(compared), `”, together ${sum.toFixed(3)}.`);
  }
}

function add(latent, by = 1) {
  const weights = [...own.values()].map(Math.abs).sort((a, b) => a - b);
  if (!steered.get(latent)) steered.set(latent, (by < 0 ? -1 : 1) * (weights[weights.length - 2] || 0.5));
  latentRows();
  follow();
  at("add").value = "";
  at("latents").querySelector(`[data-latent="${latent}"] input`).focus();
}

// A latent.

function showLatent(latent) {
  const told = data.latents[latent];
  document.title = `latent ${told}: ${called(latent, sign(latent))}`;
  at("latent").replaceChildren(`Latent ${told}`);
  const sides = [["plus", 1], ["minus", -1]].map(([name, by]) => {
    const { count, best } = codes.strongest(latent, by, TOP);
    at(`${name}-title`).replaceChildren(made("span", by < 0 ? "−" : "+", "big"), made("bdi", count ? called(latent, by) : "nothing here"));
    at(name).replaceChildren(...best.map(([row, weight]) => {
      const one = made("li");
      one.append(made("span", signed(weight), "score"), link(row));
      return one;
    }));
    if (!count) at(name).append(made("li", "No item has this side of it."));
    return count;
  });
  const used = codes.used(latent);
  at("share").textContent =
    `${number(used)} of ${number(codes.n)} items use it (${percent(used / codes.n)}), ${number(sides[0])} with + and ` +
    `${number(sides[1])} with −; it is number ${number(rank[latent] + 1)} of ${number(codes.m)} by use. Below: the items ` +
    "that have most of it, and how much of their code it is.";
  at("steer").hidden = item < 0;
  if (item >= 0) {
    at("steer").replaceChildren("Add it to “", text(item), "”");
    at("steer").onclick = () => { const row = item; waiting = { row, latent }; go(`#item=${row}`); };
  }
  at("like-card").hidden = !codes.d;
  if (codes.d) {
    at("like").replaceChildren(...codes.alike(latent, LIKE).map(([l, cosine]) => chip(l, sign(l), signed(cosine))));
  }
  sheet.mark({ weights: codes.spread(latent), item: -1 });
  legend(made("span", "●", "plus"), ` + ${called(latent, 1)} `, made("span", "●", "minus"), ` − ${called(latent, -1)}`);
}

// Where the map is above, what was asked for is below it.
function reveal() {
  at("shown").focus({ preventScroll: true });
  if (matchMedia("(max-width: 48rem)").matches) at("shown").scrollIntoView();
}

let waiting = null; // a latent to add to an item, once this is shown

// How often latents are used.

function binned() {
  const lowest = Math.log(1 / codes.n), width = -lowest / BARS;
  const bins = Array.from({ length: BARS }, () => []);
  for (const latent of order) {
    const place = Math.floor((Math.log(codes.used(latent) / codes.n) - lowest) / width + 1e-9);
    bins[Math.min(place, BARS - 1)].push(latent);
  }
  return bins.map((latents, i) => [latents, Math.exp(lowest + i * width), Math.exp(lowest + (i + 1) * width)]);
}

function bars() {
  const bins = binned(), most = Math.max(...bins.map(([latents]) => latents.length), 1);
  const asked = new URLSearchParams(location.hash.slice(1)).get("latent");
  const here = asked === null ? -1 : data.latents.indexOf(Number(asked));
  at("bars").replaceChildren(...bins.map(([latents, low, high], i) => {
    const one = made("button"), count = made("span", latents.length ? number(latents.length) : "", "count");
    const column = made("span", undefined, "column");
    one.type = "button";
    one.disabled = !latents.length;
    one.setAttribute("aria-pressed", String(i === bar));
    one.setAttribute("aria-label", `${latents.length} latents that ${percent(low)} to ${percent(high)} of items use`);
    one.classList.toggle("here", here >= 0 && latents.includes(here));
    column.style.height = `${latents.length ? Math.max((100 * latents.length) / most, 2) : 0}%`;
    one.append(count, column);
    one.addEventListener("click", () => { browse(i); reveal(); });
    return one;
  }));
  at("scale").replaceChildren(...bins.map(([, low], i) => made("span", i % 3 ? "" : percent(low))));
}

function browse(place) {
  bar = place;
  at("item-view").hidden = true;
  at("latent-view").hidden = true;
  at("browse-view").hidden = false;
  const [latents, low, high] = place < 0 ? [order, 0, 1] : binned()[place];
  at("browse-title").textContent = place < 0 ? "Latents that most items use" : `Latents that ${percent(low)} to ${percent(high)} of items use`;
  at("browse-note").textContent =
    (latents.length > CHIPS ? `The first ${CHIPS} of ${number(latents.length)}. ` : "") +
    "Number, words of the items that have most of it, share of items. A latent has two signs; the more frequent one is shown.";
  at("browse").replaceChildren(...latents.slice(0, CHIPS).map((latent) => chip(latent, sign(latent), percent(codes.used(latent) / codes.n))));
  [...at("bars").children].forEach((one, i) => one.setAttribute("aria-pressed", String(i === bar)));
}

// The beginning.

async function begin() {
  data = await unpacked();
  codes = new Codes(data);
  lowered = data.texts.map((one) => one.toLowerCase());
  order = [...Array(codes.m).keys()].sort((a, b) => codes.used(b) - codes.used(a) || a - b);
  rank = new Int32Array(codes.m);
  order.forEach((latent, i) => { rank[latent] = i; });
  const of = data.total > codes.n ? `${number(codes.n)} of ${number(data.total)} items, drawn by chance` : `${number(codes.n)} items`;
  const what = codes.d ? "of what codes stand for (reconstructions)" : "of the codes themselves (the sparse space)";
  at("about").textContent =
    `${of} · ${data.k} of ${number(data.h)} latents each · similarities are cosines ${what}, ` +
    `within ${data.off < 0.0005 ? ".001" : data.off.toFixed(3).slice(1)} of the index's`;
  at("dead").textContent =
    `Bars: latents, by the share of items that use them; press one to see them. ` +
    `Used by no item here: ${number(data.h - codes.m)} of ${number(data.h)}.`;
  at("foot").textContent = `Model ${data.model}, width ${number(data.d)}, encoder ${data.encoder}. Made with compressae_jax; ` +
    "all of it is in this file, which asks for nothing from anywhere.";
  at("main").hidden = false;
  sheet = new Sheet(at("map"), at("tip"), data, (row) => go(`#item=${row}`));
  at("closer").addEventListener("click", () => sheet.closer(1.6));
  at("farther").addEventListener("click", () => sheet.closer(1 / 1.6));
  at("whole").addEventListener("click", () => sheet.whole());
  at("chance").addEventListener("click", () => go(`#item=${Math.floor(Math.random() * codes.n)}`));
  at("reset").addEventListener("click", () => showItem(item));
  combobox(at("name"), at("names"), named,
    (one) => go(one.row === undefined ? `#latent=${data.latents[one.latent]}` : `#item=${one.row}`));
  combobox(at("add"), at("adds"), (part) => latentsNamed(part, ITEMS), (one) => add(one.latent, one.by));
  // In a frame without an address of its own, as notebooks have, a link would lead to the page around it.
  document.addEventListener("click", (event) => {
    const hash = event.target.closest?.("a")?.getAttribute("href");
    if (!hash?.startsWith("#") || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(hash);
  });
  addEventListener("hashchange", () => {
    show();
    if (waiting && item === waiting.row) add(waiting.latent, sign(waiting.latent));
    else reveal();
    waiting = null;
  });
  browse(-1);
  show();
}

begin().catch((error) => {
  at("about").textContent = "";
  say(error);
});
