"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  /* A link to a chapter, or to anything in it, opens it. */
  const reveal = () => {
    const target = location.hash && find(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (const chapter of [target.querySelector("details.chapter"), target.closest("details")]) if (chapter) chapter.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  const list = find("cards");
  if (!list) return;
  const read = (id) => JSON.parse(find(id).textContent);
  const { kinds, trials, texts, chunk } = read("trials");
  const tierOf = Object.fromEntries(kinds);
  const pageSize = Number(list.dataset.pageSize);
  const chunks = new Map();
  let page = 0;

  const thumbnail = (number) => {
    const block = Math.floor(number / chunk);
    if (!chunks.has(block)) chunks.set(block, read(`thumbnails-${block}`));
    return chunks.get(block)[number % chunk];
  };

  /* Texts become text nodes, never markup. */
  const make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const note = (text) => make("span", { class: "note" }, text);
  const mark = ([judged, hit, probability]) => make("span", { class: `mark ${hit ? "hit" : "miss"}` },
    make("span", { "aria-hidden": "true" }, hit ? "✓ " : "✗ "),
    make("span", { class: "hidden" }, hit ? "Right: " : "Wrong: "),
    `${judged} `, note(`${Math.round(100 * probability)}\u00a0%`));
  const picture = (number, alt, ...caption) => make("li", {}, make("figure", {},
    make("img", { src: thumbnail(number), alt, width: 128, height: 128 }),
    make("figcaption", {}, ...caption)));
  const place = (rank) => (rank ? `rank ${rank}` : "not among those kept");
  const captionRow = ([kind, found, cosine, own, rank]) => make("tr", {},
    make("th", { scope: "row" }, kind),
    make("td", { "data-tier": tierOf[kind] }, `${texts[found]} `, note(cosine.toFixed(2))),
    make("td", {}, `${texts[own]} `, note(place(rank))));
  const nearest = (captions) => [...new Set(Object.values(tierOf))].map((tier) => {
    const of = captions.filter(([kind]) => tierOf[kind] === tier);
    return [tier, of.reduce((best, other) => (best && best[2] >= other[2] ? best : other), null)];
  }).filter(([, caption]) => caption);
  const captionsOf = ({ id, captions }) => (captions.length === 0 ? [] : [
    make("dl", { class: "tiers" }, ...nearest(captions).map(([tier, [, found, cosine]]) => make("div", {},
      make("dt", {}, tier[0].toUpperCase() + tier.slice(1)),
      make("dd", { "data-tier": tier }, `${texts[found]} `, note(cosine.toFixed(2)))))),
    make("details", {},
      make("summary", {}, `All ${captions.length} captions`, make("span", { class: "hidden" }, ` of ${id}`)),
      make("table", {},
        make("thead", {}, make("tr", {}, ...["Kind", "Nearest to the EEG", "True"]
          .map((heading) => make("th", { scope: "col" }, heading)))),
        make("tbody", {}, ...captions.map(captionRow)))),
  ]);
  const card = (trial) => make("li",
    { class: "card", "data-subject": trial.subject, "data-outcome": trial.outcome, "data-concept": trial.concept },
    make("article", {},
      make("header", {},
        make("h3", {}, trial.concept),
        make("p", { class: "note" }, make("code", {}, trial.id), ...(trial.split === "zero_shot"
          ? [" ", make("span", { class: "tag" }, "concept never in training")] : []),
          ...(trial.confidence === null ? [] : [` confidence ${Math.round(100 * trial.confidence)}\u00a0%`]))),
      make("ul", { class: "pictures" },
        picture(trial.shown, `Shown: ${trial.concept}`, "Shown"),
        ...trial.pictures.map(([title, number, prompt, said]) => picture(
          number, `${title}: drawn from “${texts[prompt]}”`, title, ...(said ? [mark(said)] : [])))),
      ...captionsOf(trial)));

  const searched = new Map();
  const textOf = (trial, within) => {
    const key = `${within} ${trial.id}`;
    if (!searched.has(key)) {
      const found = trial.captions.filter(([kind]) => !within || tierOf[kind] === within)
        .flatMap(([, retrieved, , own]) => [texts[retrieved], ...(within ? [] : [texts[own]])]);
      const parts = { concept: [trial.concept], trial: [trial.id] }[within]
        ?? (within ? found : [trial.id, trial.concept, trial.subject, ...found]);
      searched.set(key, parts.join(" ").toLowerCase());
    }
    return searched.get(key);
  };
  const ranked = (trial, within, wanted) => {
    if (wanted === "") return true;
    const ranks = trial.captions.filter(([kind]) => !Object.values(tierOf).includes(within) || tierOf[kind] === within)
      .map((caption) => caption[4]);
    return Number(wanted) === 0 ? ranks.every((rank) => rank === 0)
      : ranks.some((rank) => rank > 0 && rank <= Number(wanted));
  };
  const sure = (confidence, wanted) => wanted === "" || (confidence !== null
    && (Number(wanted) > 0 ? confidence >= Number(wanted) : confidence < -Number(wanted)));
  const matching = () => {
    const [within, subject, outcome, rank, concept, confidence] = ["within", "subject", "outcome", "rank", "concept", "confidence"]
      .map((id) => find(id).value);
    const wanted = find("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    return trials.filter((trial) => [trial.subject, ""].includes(subject)
      && [trial.outcome, ""].includes(outcome)
      && [trial.concept, ""].includes(concept)
      && sure(trial.confidence, confidence)
      && ranked(trial, within, rank)
      && (wanted.length === 0 || wanted.every((word) => textOf(trial, within).includes(word))));
  };
  const show = () => {
    const found = matching();
    const pages = Math.max(1, Math.ceil(found.length / pageSize));
    page = Math.min(page, pages - 1);
    list.replaceChildren(...found.slice(page * pageSize, (page + 1) * pageSize).map(card));
    find("count").textContent = `${found.length.toLocaleString("en")} of ${trials.length.toLocaleString("en")} trials`
      + (pages > 1 ? `, page ${page + 1} of ${pages}` : "");
    find("none").hidden = found.length > 0;
    find("pager").hidden = pages < 2;
    find("page").textContent = `Page ${page + 1} of ${pages}`;
    find("previous").disabled = page === 0;
    find("next").disabled = page === pages - 1;
  };
  const turn = (step) => {
    page += step;
    show();
    find("pictures").scrollIntoView();
  };

  find("filters").hidden = find("count").hidden = false;
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("filters").addEventListener("input", () => { page = 0; show(); });
  find("previous").addEventListener("click", () => turn(-1));
  find("next").addEventListener("click", () => turn(1));
  show();
})();
