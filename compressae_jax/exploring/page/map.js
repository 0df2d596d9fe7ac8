// The map: every item a point, words where their items are; moved, zoomed, pointed at and coloured.

const CLOSEST = 40, REACH = 14, TAP = 5; // zoom at most; pixels from a point that mean it; pixels that are no drag

class Sheet {
  constructor(canvas, tip, data, picked) {
    Object.assign(this, { canvas, tip, data, picked, zoom: 1, x: 0.5, y: 0.5, pointers: new Map(), hovered: -1 });
    this.marks = { weights: null, item: -1, near: [] };
    canvas.setAttribute("aria-label",
      `Map of ${data.texts.length} items, like ones near each other; the search above finds each of them by its name`);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.closer(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
    canvas.addEventListener("pointerleave", () => this.hover(-1));
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // Pixels of a place on the map.
  across(x) { return this.width / 2 + (x - this.x) * this.side * this.zoom; }
  along(y) { return this.height / 2 - (y - this.y) * this.side * this.zoom; }

  place(row) { return [this.data.at[2 * row] / 65535, this.data.at[2 * row + 1] / 65535]; }

  closer(by, px = this.width / 2, py = this.height / 2) {
    const zoom = Math.min(Math.max(this.zoom * by, 1), CLOSEST), grown = zoom / this.zoom;
    const unit = this.side * zoom;
    this.x += ((px - this.width / 2) * (grown - 1)) / unit; // what is under the pointer stays there
    this.y -= ((py - this.height / 2) * (grown - 1)) / unit;
    this.zoom = zoom;
    this.kept();
  }

  whole() {
    Object.assign(this, { zoom: 1, x: 0.5, y: 0.5 });
    this.draw();
  }

  kept() {
    const most = 0.5 - 0.5 / this.zoom + 1e-9;
    this.x = Math.min(Math.max(this.x, 0.5 - most), 0.5 + most);
    this.y = Math.min(Math.max(this.y, 0.5 - most), 0.5 + most);
    this.draw();
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    this.dragged = this.pointers.size > 1 ? Infinity : 0;
  }

  move(event) {
    const before = this.pointers.get(event.pointerId), now = { x: event.offsetX, y: event.offsetY };
    if (!before) {
      if (event.pointerType === "mouse") this.hover(this.under(now.x, now.y));
      return;
    }
    const dx = now.x - before.x, dy = now.y - before.y, unit = this.side * this.zoom;
    if (this.pointers.size === 2) {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, one]) => one);
      const was = Math.hypot(before.x - other.x, before.y - other.y), is = Math.hypot(now.x - other.x, now.y - other.y);
      this.pointers.set(event.pointerId, now);
      if (was > 1) this.closer(is / was, (now.x + other.x) / 2, (now.y + other.y) / 2);
      return;
    }
    this.dragged += Math.hypot(dx, dy);
    this.pointers.set(event.pointerId, now);
    if (this.dragged <= TAP) return;
    this.x -= dx / unit;
    this.y += dy / unit;
    this.hover(-1);
    this.kept();
  }

  up(event) {
    const was = this.pointers.delete(event.pointerId);
    if (!was || this.dragged > TAP) return;
    const row = this.under(event.offsetX, event.offsetY);
    if (row >= 0) this.picked(row);
  }

  // The point under some pixels, -1: none.
  under(px, py) {
    let best = -1, least = REACH ** 2;
    for (let row = 0; row < this.data.texts.length; row++) {
      const [x, y] = this.place(row), far = (this.across(x) - px) ** 2 + (this.along(y) - py) ** 2;
      if (far < least) [best, least] = [row, far];
    }
    return best;
  }

  hover(row) {
    if (row === this.hovered) return;
    this.hovered = row;
    this.canvas.style.cursor = row < 0 ? "grab" : "pointer";
    this.tip.hidden = row < 0;
    if (row >= 0) {
      this.tip.textContent = this.data.texts[row];
      const [x, y] = this.place(row), px = this.across(x), py = this.along(y);
      this.tip.style.left = `${Math.min(Math.max(px - 120, 0), Math.max(this.width - 240, 0))}px`;
      this.tip.style.top = py > this.height / 2 ? "" : `${py + 12}px`;
      this.tip.style.bottom = py > this.height / 2 ? `${this.height - py + 12}px` : "";
    }
    this.draw();
  }

  mark(marks) {
    this.marks = { weights: null, item: -1, near: [], ...marks };
    this.draw();
  }

  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.paint(); });
  }

  paint() {
    const { canvas, data, marks } = this, ratio = devicePixelRatio || 1;
    this.width = canvas.clientWidth;
    this.height = canvas.clientHeight;
    this.side = Math.min(this.width, this.height);
    if (!this.side) return;
    canvas.width = Math.round(this.width * ratio);
    canvas.height = Math.round(this.height * ratio);
    const pen = canvas.getContext("2d"), style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(name).trim();
    pen.scale(ratio, ratio);
    const size = Math.min(1.5 + 0.5 * Math.sqrt(this.zoom) + 300 / data.texts.length, 6);
    const dot = (row, radius) => {
      const [x, y] = this.place(row);
      pen.beginPath();
      pen.arc(this.across(x), this.along(y), radius, 0, 2 * Math.PI);
      pen.fill();
    };
    pen.fillStyle = colour("--dot");
    pen.globalAlpha = marks.weights ? 0.35 : 0.6;
    for (let row = 0; row < data.texts.length; row++) {
      const [x, y] = this.place(row);
      pen.fillRect(this.across(x) - size / 2, this.along(y) - size / 2, size, size);
    }
    if (marks.weights) {
      const used = [...marks.weights.keys()].filter((row) => marks.weights[row]);
      const most = Math.max(...used.map((row) => Math.abs(marks.weights[row])), 1e-9);
      used.sort((a, b) => Math.abs(marks.weights[a]) - Math.abs(marks.weights[b]));
      for (const row of used) {
        const share = Math.abs(marks.weights[row]) / most;
        pen.fillStyle = colour(marks.weights[row] > 0 ? "--plus" : "--minus");
        pen.globalAlpha = 0.3 + 0.7 * share;
        dot(row, size * (0.7 + share));
      }
    }
    pen.globalAlpha = 1;
    this.words(pen, colour);
    pen.fillStyle = colour("--plus");
    for (const row of marks.near) dot(row, 4);
    if (marks.item >= 0) this.ring(pen, marks.item, 7, colour("--ink"), colour("--minus"));
    if (this.hovered >= 0) this.ring(pen, this.hovered, 6, colour("--ink"), "transparent");
  }

  ring(pen, row, radius, line, fill) {
    const [x, y] = this.place(row);
    pen.beginPath();
    pen.arc(this.across(x), this.along(y), radius, 0, 2 * Math.PI);
    pen.fillStyle = fill;
    pen.fill();
    pen.lineWidth = 2;
    pen.strokeStyle = line;
    pen.stroke();
  }

  // As many words as there is room for; zoomed in there is more.
  words(pen, colour) {
    pen.font = "600 12px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    pen.lineWidth = 3;
    pen.strokeStyle = colour("--paper");
    pen.fillStyle = colour("--ink");
    const taken = [];
    for (const [word, x, y] of this.data.places) {
      const px = this.across(x), py = this.along(y), half = pen.measureText(word).width / 2 + 3;
      if (px < half || px > this.width - half || py < 9 || py > this.height - 9) continue;
      if (taken.some((one) => Math.abs(one.px - px) < one.half + half && Math.abs(one.py - py) < 17)) continue;
      taken.push({ px, py, half });
      pen.globalAlpha = 0.8;
      pen.strokeText(word, px, py);
      pen.globalAlpha = 1;
      pen.fillText(word, px, py);
    }
  }
}
