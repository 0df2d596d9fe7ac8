"use strict";
// The page of the service: names as one types, an item's neighbours by codes and by dense vectors, its latents.

const TOP = 10, PAUSE = 120; // results; milliseconds after a key
const at = (id) => document.getElementById(id);
let token = sessionStorage.getItem("token") || "";
let about = null, shown = [], chosen = -1, typed = 0, timer = 0;

async function get(path, fields) {
  const query = new URLSearchParams(fields || {});
  const headers = token ? { Authorization: "Bearer " + token } : {};
  const answer = await fetch(path + "?" + query, { headers });
  if (answer.status === 401) {
    at("token-form").hidden = false;
    at("token").focus();
    throw new Error(token ? "this is not the token" : "a token is needed");
  }
  const text = await answer.text();
  let told;
  try { told = JSON.parse(text); } catch { throw new Error(`the service answered ${answer.status}`); }
  if (!answer.ok) throw new Error(told.error || `the service answered ${answer.status}`);
  return told;
}

function made(tag, text, name) {
  const one = document.createElement(tag);
  if (text !== undefined) one.textContent = text;
  if (name) one.className = name;
  return one;
}

const number = (n, digits = 0) => n.toLocaleString("en", { maximumFractionDigits: digits });

function say(error) {
  at("error").hidden = !error;
  at("error").textContent = error ? error.message : "";
}

async function tell() {
  try {
    about = await get("about");
  } catch (error) {
    say(error);
    return;
  }
  say(null);
  at("token-form").hidden = true;
  at("about").textContent =
    `${number(about.rows)} items · ${number(about.bytes, 1)} bytes each, dense vectors ${number(about.dense_bytes)} ` +
    `(${number(about.dense_bytes / about.bytes, 1)} times as much) · k=${about.k} of h=${number(about.h)}, ` +
    `${about.storage}, ${about.space}`;
  const asked = new URLSearchParams(location.search).get("id");
  if (asked !== null) show(asked, false);
}

function close() {
  at("names").hidden = true;
  at("name").setAttribute("aria-expanded", "false");
  at("name").removeAttribute("aria-activedescendant");
  shown = [];
  chosen = -1;
}

function choose(place) {
  chosen = place;
  [...at("names").children].forEach((one, i) => one.setAttribute("aria-selected", String(i === place)));
  if (place >= 0) {
    at("name").setAttribute("aria-activedescendant", `name-${place}`);
    at("names").children[place].scrollIntoView({ block: "nearest" });
  }
}

async function names() {
  const part = at("name").value.trim(), mine = ++typed;
  if (!part) return close();
  try {
    const found = await get("names", { contains: part });
    if (mine !== typed) return; // a later key has asked since
    say(null);
    shown = found.ids;
    at("names").replaceChildren(...found.texts.map((text, i) => {
      const one = made("li", text);
      one.id = `name-${i}`;
      one.setAttribute("role", "option");
      one.addEventListener("pointerdown", (event) => { event.preventDefault(); show(shown[i]); });
      return one;
    }));
    at("names").hidden = !shown.length;
    at("name").setAttribute("aria-expanded", String(shown.length > 0));
    choose(-1);
    if (!shown.length) say(new Error(`no item has “${part}” in its name`));
  } catch (error) { say(error); }
}

function link(id, text) {
  const one = made("a", text);
  one.href = "?id=" + encodeURIComponent(id);
  one.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    show(id);
  });
  return one;
}

function side(name, told, bytes, others) {
  const one = made("div", undefined, "side");
  one.append(made("h3", name), made("p", `${number(bytes, 1)} bytes an item · ${number(told.ms, 2)} ms`, "told"));
  const list = made("ol");
  told.ids.forEach((id, i) => {
    const row = made("li", undefined, others && others.has(id) ? "both" : "");
    row.append(made("span", told.scores[i].toFixed(3), "score"), link(id, told.texts[i]));
    list.append(row);
  });
  one.append(list);
  return one;
}

async function show(id, kept = true) {
  close();
  clearTimeout(timer);
  typed++;
  at("found").setAttribute("aria-busy", "true");
  try {
    const near = await get("neighbours", { id, top: TOP });
    const latents = await get("latents", { id }); // not beside it, which would count into its milliseconds
    say(null);
    if (kept) history.pushState(null, "", "?id=" + encodeURIComponent(id));
    at("item").textContent = near.text;
    const of = (told) => new Set(told ? told.ids : []);
    const sides = [side("By codes", near.codes, about.bytes, of(near.dense))];
    if (near.dense) sides.push(side("By dense vectors", near.dense, about.dense_bytes, of(near.codes)));
    at("sides").replaceChildren(...sides);
    at("same").hidden = !near.dense;
    if (near.dense) {
      const both = near.codes.ids.filter((one) => of(near.dense).has(one)).length;
      at("same").textContent = `${both} of ${near.dense.ids.length} are the same (bold)`;
    }
    const most = Math.max(...latents.weights.map(Math.abs), 1e-9);
    at("latents").tBodies[0].replaceChildren(...latents.columns.map((column, i) => {
      const row = made("tr"), weight = made("td"), bar = made("meter"), items = made("td");
      bar.max = most;
      bar.value = Math.abs(latents.weights[i]);
      weight.append(bar, made("span", latents.weights[i].toFixed(3)));
      latents.ids[i].forEach((one, j) => {
        if (j) items.append(" · ");
        items.append(link(one, latents.texts[i][j]));
      });
      row.append(made("td", String(column)), weight, items);
      return row;
    }));
    at("found").hidden = false;
  } catch (error) {
    say(error);
  } finally {
    at("found").removeAttribute("aria-busy");
  }
}

at("name").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(names, PAUSE); });
at("name").addEventListener("keydown", (event) => {
  if (event.key === "Escape") close();
  if ((event.key === "ArrowDown" || event.key === "ArrowUp") && shown.length) {
    event.preventDefault();
    choose((chosen + (event.key === "ArrowDown" ? 1 : shown.length - 1 + (chosen < 0))) % shown.length);
  }
});
at("name").addEventListener("blur", close);
at("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  clearTimeout(timer);
  if (!shown.length) await names();
  if (shown.length) show(shown[Math.max(chosen, 0)]);
});
at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value;
  sessionStorage.setItem("token", token);
  tell();
});
addEventListener("popstate", () => {
  const asked = new URLSearchParams(location.search).get("id");
  if (asked === null) at("found").hidden = true; else show(asked, false);
});
tell();
