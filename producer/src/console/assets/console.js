// Theme, and the live region: it is fetched again now and then and put in place of the old one.
"use strict";
(() => {
  const root = document.documentElement;
  const keep = (name, value) => { try { localStorage.setItem(name, value); } catch { /* not allowed: not kept */ } };
  const kept = (name, fallback) => { try { return localStorage.getItem(name) ?? fallback; } catch { return fallback; } };

  const themes = [["auto", "As the system"], ["light", "Light"], ["dark", "Dark"]];
  const paces = [["0", "Paused"], ["2", "2 s"], ["5", "5 s"], ["10", "10 s"], ["30", "30 s"]];
  const known = (list, value, fallback) => (list.some(([word]) => word === value) ? value : fallback);
  // At once, before anything is drawn.
  root.dataset.theme = known(themes, kept("theme", "auto"), "auto");
  let pace = known(paces, kept("pace", "5"), "5");
  let failing = null;
  let spoken = null;

  const select = (label, list, value, chosen) => {
    const element = document.createElement("label");
    const box = document.createElement("select");
    for (const [word, says] of list) box.add(new Option(says, word, false, word === value));
    box.addEventListener("change", () => chosen(box.value));
    element.append(`${label} `, box);
    return element;
  };

  // Whoever chooses something must not lose it.
  const isBusy = (live) => {
    const focus = document.activeElement;
    const writes = focus && live.contains(focus) && focus.matches("select, input, textarea, button");
    const marks = !document.getSelection().isCollapsed && live.contains(document.getSelection().anchorNode);
    return writes || marks || live.querySelector("input[type=checkbox]:checked, dialog[open]") !== null;
  };

  // A name under which an element is found again in the new region.
  const place = (live, element) => {
    const tag = element.tagName;
    return [tag, [...live.getElementsByTagName(tag)].indexOf(element), element.getAttribute("href")];
  };
  const find = (live, [tag, index, href]) => {
    const all = [...live.getElementsByTagName(tag)];
    return all[index]?.getAttribute("href") === href ? all[index] : all.find((one) => href !== null && one.getAttribute("href") === href);
  };

  // What somebody has chosen and not sent yet, by the names of the controls.
  const controls = (live) => [...live.querySelectorAll("select, input, textarea")];
  const called = (one) => [one.form?.getAttribute("action"), one.name, one.type, /^(checkbox|radio)$/.test(one.type) ? one.value : ""].join(" ");
  const isChosen = (one) => (one.matches("select") ? [...one.options].some((entry) => entry.selected !== entry.defaultSelected)
    : /^(checkbox|radio)$/.test(one.type) ? one.checked !== one.defaultChecked : one.value !== one.defaultValue);
  const chosen = (live) => new Map(controls(live).filter(isChosen).map((one) => [called(one), [one.value, one.checked]]));
  const choose = (live, choices) => controls(live).forEach((one) => {
    const choice = choices.get(called(one));
    if (choice) [one.value, one.checked] = choice;
  });

  // What is said aloud when it changes: the summary, or what is in trouble.
  const told = (page) => page.getElementById("summary")?.textContent
    ?? [...page.querySelectorAll("#live .trouble strong")].map((one) => one.textContent).join(" ");

  const swap = (live, html) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    const fresh = page.getElementById("live");
    // The page of somebody in between: a proxy that is out of order, or one that wants a new sign-in.
    if (!fresh) throw new Error("not a page of the console");
    if (isBusy(live)) return;
    const focus = live.contains(document.activeElement) ? place(live, document.activeElement) : null;
    const open = [...live.querySelectorAll("details")].map((one) => one.open);
    const scrolled = [...live.querySelectorAll(".scroll")].map((one) => [one.scrollLeft, one.scrollTop]);
    const choices = chosen(live);
    const words = told(page);
    live.replaceChildren(...fresh.childNodes);
    choose(live, choices);
    live.querySelectorAll("details").forEach((one, index) => { one.open = open[index] ?? one.open; });
    live.querySelectorAll(".scroll").forEach((one, index) => { [one.scrollLeft, one.scrollTop] = scrolled[index] ?? [0, 0]; });
    if (focus) find(live, focus)?.focus({ preventScroll: true });
    if (spoken.textContent !== words) spoken.textContent = words;
  };

  const refresh = async (live, state) => {
    const slow = setTimeout(() => live.setAttribute("aria-busy", "true"), 700);
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(20000) });
      const html = await answer.text();
      if (answer.ok || answer.status === 503) swap(live, html);
      else throw new Error(`the console answers ${answer.status}`);
      failing = null;
      state.textContent = "";
    } catch {
      failing ??= new Date();
      state.textContent = `No answer since ${failing.toISOString().slice(11, 19)} UTC; the page shows what was known then.`;
    } finally {
      clearTimeout(slow);
      live.removeAttribute("aria-busy");
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    const tools = document.getElementById("tools");
    const live = document.getElementById("live");
    if (live) {
      const state = document.createElement("span");
      state.className = "silent";
      state.setAttribute("role", "status");
      spoken = document.getElementById("summary") ?? document.createElement("p");
      if (!spoken.isConnected) {
        spoken.className = "spoken";
        spoken.setAttribute("role", "status");
        spoken.textContent = told(document);
        live.before(spoken);
      }
      let last = Date.now();
      let asking = false;
      tools.append(state, select("Refresh", paces, pace, (value) => { pace = value; keep("pace", value); }));
      setInterval(async () => {
        const due = pace !== "0" && Date.now() - last >= Number(pace) * 1000;
        if (!due || asking || document.hidden || isBusy(live)) return;
        asking = true;
        await refresh(live, state);
        asking = false;
        last = Date.now();
      }, 500);
    }
    tools.append(select("Theme", themes, root.dataset.theme, (value) => { root.dataset.theme = value; keep("theme", value); }));
  });
})();
