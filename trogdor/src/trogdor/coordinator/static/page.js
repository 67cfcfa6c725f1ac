"use strict"
// The live page: the coordinator's events say when something has changed; what is shown is fetched from it.

const $ = id => document.getElementById(id)
const send = async (method, path, body) => {
  const answer = await fetch(path, { method, headers: body && { "Content-Type": "application/json" }, body: body && JSON.stringify(body) })
  const json = await answer.json()
  if (!answer.ok) throw new Error(json.message ?? `HTTP ${answer.status}`)
  return json
}
const short = spec => spec.class.split(".").pop().replace(/Spec$/, "").replace(/Fault$/, "")
const clock = ms => new Date(ms).toISOString().slice(11, 23)
const late = (asked, seen) => (asked == null || seen == null ? "" : `${(seen - asked).toFixed(1)} ms`)
const lasting = ms => (ms < 1000 ? `${ms} ms` : `${ms / 1000} s`)

// Timeline: a window of time, drawn by the coordinator.

const LIVE_MS = 120000, AHEAD = 0.15
const view = { live: true, begin: 0, end: 0, offset: 0, chosen: null, drawing: false, again: false, took: 0 }
const now = () => Date.now() + view.offset

const follow = () => { if (view.live) { const span = (view.end - view.begin) || LIVE_MS; view.end = now() + span * AHEAD; view.begin = view.end - span } }

const draw = async () => {
  if (view.drawing) { view.again = true; return }
  view.drawing = true
  try {
    do {
      view.again = false
      follow()
      const began = performance.now()
      const width = Math.max(320, $("timeline").clientWidth)
      const query = new URLSearchParams({ begin: view.begin, end: view.end, width, filter: $("filter").value })
      const answer = await fetch(`/page/timeline?${query}`)
      if (answer.ok) show(await answer.text())
      view.took = performance.now() - began
      if (view.again) await new Promise(resolve => setTimeout(resolve, Math.min(view.took, 500)))
    } while (view.again)
  } catch { /* the link's state is shown by the stream of events */ } finally { view.drawing = false }
}

const show = svg => {
  const box = $("timeline"), focused = document.activeElement?.closest?.("#timeline .bar")
  const key = focused && [focused.dataset.task, focused.closest("[data-node]").dataset.node]
  box.innerHTML = svg
  const drawn = box.firstElementChild
  view.left = Number(drawn.dataset.left); view.right = Number(drawn.dataset.right)
  if (key) barOf(...key)?.focus()
}
const barOf = (task, node) => [...$("timeline").querySelectorAll(".bar")]
  .find(bar => bar.dataset.task === task && bar.closest("[data-node]").dataset.node === node)

const look = (begin, end) => { view.live = false; $("live").setAttribute("aria-pressed", "false"); view.begin = begin; view.end = Math.max(end, begin + 10); draw() }
const zoom = (factor, at = 0.5) => {
  const span = view.end - view.begin, middle = view.begin + span * at
  if (view.live) { view.begin = view.end - span * factor; draw() }
  else look(middle - span * factor * at, middle + span * factor * (1 - at))
}
const shift = part => { const by = (view.end - view.begin) * part; look(view.begin + by, view.end + by) }
const showAll = async () => { const span = await send("GET", "/page/span"); look(span.beginMs - 100, span.endMs + 100) }

$("live").onclick = () => { view.live = true; view.begin = view.end - LIVE_MS; $("live").setAttribute("aria-pressed", "true"); draw() }
$("earlier").onclick = () => shift(-0.5)
$("later").onclick = () => shift(0.5)
$("in").onclick = () => zoom(0.5)
$("out").onclick = () => zoom(2)
$("all").onclick = showAll
$("filter").oninput = () => { draw(); rows() }

$("timeline").addEventListener("wheel", event => {
  if (!event.ctrlKey && !event.shiftKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return
  event.preventDefault()
  const box = $("timeline").getBoundingClientRect()
  const at = Math.min(1, Math.max(0, (event.clientX - box.left - view.left) / (box.width - view.left - view.right)))
  if (event.ctrlKey) zoom(event.deltaY > 0 ? 1.25 : 0.8, at)
  else shift((event.deltaX || event.deltaY) / box.width)
}, { passive: false })

$("timeline").addEventListener("pointerdown", event => {
  if (event.button !== 0) return
  const box = $("timeline"), from = event.clientX, begin = view.begin, span = view.end - view.begin
  const perPixel = span / (box.clientWidth - view.left - view.right)
  let moved = false
  const move = next => {
    const by = next.clientX - from
    if (!moved && Math.abs(by) < 4) return
    moved = true
    look(begin - by * perPixel, begin - by * perPixel + span)
  }
  const end = () => {
    window.removeEventListener("pointermove", move)
    if (!moved) { const bar = event.target.closest(".bar"); if (bar) open(bar.dataset.task) }
  }
  window.addEventListener("pointermove", move)
  window.addEventListener("pointerup", end, { once: true })
})

$("timeline").addEventListener("keydown", event => {
  const bars = [...$("timeline").querySelectorAll(".bar")]
  const current = document.activeElement.closest?.(".bar")
  const lane = current?.closest("[data-node]")
  const lanes = [...$("timeline").querySelectorAll("[data-node]")].filter(each => each.querySelector(".bar"))
  const inLane = [...(lane?.querySelectorAll(".bar") ?? [])].sort((a, b) => left(a) - left(b))
  const go = {
    ArrowRight: () => (current ? inLane[inLane.indexOf(current) + 1] : bars[0]),
    ArrowLeft: () => (current ? inLane[inLane.indexOf(current) - 1] : bars[0]),
    ArrowDown: () => nearest(current, lanes[lanes.indexOf(lane) + 1]) ?? (current ? null : bars[0]),
    ArrowUp: () => nearest(current, lanes[lanes.indexOf(lane) - 1]),
  }[event.key]
  if (go) { event.preventDefault(); (go() ?? current)?.focus(); return }
  const act = { "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), Home: showAll, End: () => $("live").click(),
    Enter: () => current && open(current.dataset.task), " ": () => current && open(current.dataset.task) }[event.key]
  if (act) { event.preventDefault(); act() }
})
const left = bar => Number(bar.querySelector(".asked").getAttribute("x"))
const nearest = (current, lane) => lane && current
  ? [...lane.querySelectorAll(".bar")].sort((a, b) => Math.abs(left(a) - left(current)) - Math.abs(left(b) - left(current)))[0] : null

// Tasks: all are known, the latest first; some are shown.

const tasks = new Map()
let ordered = [], shown = 100, rowsTook = 0
const learn = (ids, found) => {
  const asked = new Set([...ids, ...Object.keys(found)]), entries = Object.entries(found)
  for (const id of asked) tasks.delete(id)
  for (const [id, task] of entries) tasks.set(id, task)
  ordered = [...ordered.filter(([id]) => !asked.has(id)), ...entries].sort((a, b) => b[1].spec.startMs - a[1].spec.startMs)
}
// What is made of a task, made once: one that changes comes as another object.
const once = make => {
  const made = new WeakMap()
  return entry => made.get(entry[1]) ?? (made.set(entry[1], make(entry)), made.get(entry[1]))
}
// [node, a fault's status] of each node; a task on one node does not name it, a schedule has its children's.
const statuses = task => {
  const status = task.status
  if (!status || typeof status !== "object") return []
  if (status.children) return Object.values(status.children).flatMap(statuses)
  const found = typeof status.verdict === "string" ? [["", status]] : Object.entries(status)
  return found.filter(([, each]) => typeof each?.verdict === "string")
}
const kindOf = verdict => (verdict.startsWith("not seen") ? "bad" : verdict.startsWith("unverified") ? "unsure" : "good")
const outcome = task => {
  if (task.error) return [task.error.split("\n")[0], "bad"]
  const verdicts = [...new Set(statuses(task).map(([, each]) => each.verdict))]
  const doubts = verdicts.filter(verdict => kindOf(verdict) !== "good")
  if (doubts.length) return [doubts.join("; "), doubts.some(doubt => kindOf(doubt) === "bad") ? "bad" : "unsure"]
  if (task.state !== "DONE") return [verdicts.join(", "), "good"]
  return [`${verdicts.includes("seen") ? "seen, " : ""}${task.cancelled ? "stopped" : verdicts.length ? "healed" : "done"}`, "good"]
}
const textOf = once(([id, task]) => `${id} ${JSON.stringify(task.spec)} ${task.error ?? ""}`.toLowerCase())
const rowOf = once(([id, task]) => {
  const button = make("button", { type: "button" }, id)
  button.onclick = () => open(id)
  const [words, kind] = outcome(task)
  return make("tr", {}, make("td", {}, button), make("td", {}, short(task.spec)), make("td", {}, task.state.toLowerCase()),
    make("td", {}, clock(task.spec.startMs)), make("td", {}, lasting(task.spec.durationMs)), make("td", { class: kind }, words.slice(0, 160)))
})
const isGoing = ([, task]) => task.state === "RUNNING" || task.state === "STOPPING"
const rows = () => {
  const began = performance.now()
  const words = $("filter").value.toLowerCase(), state = $("state").value
  const fits = entry => (!state || entry[1].state === state) && (!words || textOf(entry).includes(words))
  const fitting = ordered.filter(fits), found = [...fitting.filter(isGoing), ...fitting.filter(entry => !isGoing(entry))]
  $("tasks").tBodies[0].replaceChildren(...found.slice(0, shown).map(rowOf))
  $("none").hidden = found.length > 0
  $("none").textContent = tasks.size ? "No task fits." : "No tasks yet: New task makes one, as does `trogdor partition n1 / n2`."
  $("more").hidden = found.length <= shown
  $("more").firstElementChild.textContent = `${Math.min(shown, found.length)} of ${found.length} shown.`
  rowsTook = performance.now() - began
}
$("more").querySelector("button").onclick = () => { shown += 200; rows() }
$("state").onchange = rows

let stale = new Set(), refreshing = null
const refresh = id => {
  stale.add(id)
  refreshing ??= setTimeout(async () => {
    const ids = stale; stale = new Set(); refreshing = null
    try {
      const path = ids.size > 50 ? "/coordinator/tasks" : `/coordinator/tasks?${new URLSearchParams([...ids].map(each => ["taskId", each]))}`
      const found = (await send("GET", path)).tasks ?? {}
      learn(ids, found)
      rows()
      if ($("details").open && found[view.chosen]) details(found[view.chosen])
    } catch { /* the next event asks again */ }
  }, Math.max(50, 4 * rowsTook))
}

// One task.

const open = async id => {
  view.chosen = id
  const task = tasks.get(id) ?? await send("GET", `/coordinator/tasks/${encodeURIComponent(id)}`).catch(() => null) ?? await childOf(id)
  if (!task) return
  details(task)
  if (!$("details").open) $("details").showModal()
}
const childOf = async id => {
  const parent = id.slice(0, id.lastIndexOf("/"))
  return parent && (await send("GET", `/coordinator/task/children?taskId=${encodeURIComponent(parent)}`).catch(() => ({}))).tasks?.[id]
}
const details = task => {
  $("details-title").textContent = `${short(task.spec)}, task ${view.chosen}`
  const [words, kind] = outcome(task)
  $("details-words").textContent = `${task.state.toLowerCase()}${words ? ": " + words : ""}`
  $("details-words").className = kind
  const found = task.status?.children ? [] : statuses(task)
  $("details-nodes").hidden = !found.length
  $("details-nodes").tBodies[0].replaceChildren(...found.map(([node, each]) => make("tr", {}, make("td", {}, node),
    make("td", { class: kindOf(each.verdict) }, each.verdict), make("td", {}, late(each.askedStartMs, each.seenStartMs)),
    make("td", {}, each.undoneBy === "stop" ? "" : late(each.askedEndMs, each.seenEndMs)), make("td", {}, each.undoneBy ?? ""))))
  $("details-status").textContent = JSON.stringify(task.status ?? null, null, 2).slice(0, 100000)
  $("details-spec").textContent = JSON.stringify(task.spec, null, 2).slice(0, 100000)
  $("stop").disabled = task.state === "DONE"
  $("report").href = `/page/report?taskId=${encodeURIComponent(view.chosen)}`
}
$("stop").onclick = async () => { const id = view.chosen.includes("/") && !tasks.has(view.chosen) ? view.chosen.slice(0, view.chosen.lastIndexOf("/")) : view.chosen; await send("PUT", "/coordinator/task/stop", { id }); refresh(id) }
for (const button of document.querySelectorAll("[data-close]")) button.onclick = () => button.closest("dialog").close()

// A new task, by a form made from the spec's schema.

let specs = [], form = null
const chosen = () => specs.find(each => each.class === $("class").value)
const spec = () => ({
  class: chosen().class,
  startMs: Number($("in-seconds").value) > 0 ? Math.round(now() + Number($("in-seconds").value) * 1000) : 0,
  durationMs: Math.round(Number($("seconds").value) * 1000),
  ...form.value(),
})
const mirror = () => { if (!$("as-json").open) return; $("json").value = JSON.stringify(spec(), null, 2) }
const choose = value => {
  const { summary, schema, example } = chosen()
  $("summary").textContent = summary
  form = new Form($("fields"), schema, value ?? example, "node-names", mirror)
  $("problems").replaceChildren()
  $("id").value = `${chosen().class.split(".").pop().replace(/(Fault|Workload|Task)?Spec$/, "").toLowerCase()}-${Math.random().toString(36).slice(2, 8)}`
  $("as-json").open = false
}
$("class").onchange = () => choose()
$("as-json").ontoggle = mirror
$("seconds").oninput = $("in-seconds").oninput = mirror
$("new").onclick = async () => {
  if (!specs.length) {
    specs = await send("GET", "/page/specs")
    const families = [...new Set(specs.map(each => each.family))]
    $("class").replaceChildren(...families.map(family => make("optgroup", { label: family },
      ...specs.filter(each => each.family === family).map(each => make("option", { value: each.class }, each.class.split(".").pop())))))
    choose()
  }
  $("creating").showModal()
}
$("create").onsubmit = async event => {
  event.preventDefault()
  try {
    const wanted = $("as-json").open ? JSON.parse($("json").value) : spec()
    const { problems } = await send("POST", "/coordinator/task/check", { id: $("id").value, spec: wanted })
    $("problems").replaceChildren(...problems.map(each => make("li", {}, each.path ? `${each.path}: ${each.message}` : each.message)))
    if (problems.length) return
    await send("POST", "/coordinator/task/create", { id: $("id").value, spec: wanted })
    $("creating").close()
    choose()
  } catch (error) { $("problems").replaceChildren(make("li", {}, error.message)) }
}
$("heal").onclick = async () => { $("heal").disabled = true; try { await send("PUT", "/coordinator/heal", {}) } finally { $("heal").disabled = false } }
$("marking").onsubmit = event => { event.preventDefault(); const text = $("mark").value.trim(); if (text) send("POST", "/coordinator/mark", { text }); $("mark").value = "" }

// Nodes and events.

const nodes = async () => {
  const found = Object.entries((await send("GET", "/coordinator/nodes")).nodes)
  $("nodes").tBodies[0].replaceChildren(...found.map(([name, node]) => make("tr", {}, make("td", {}, name),
    make("td", { class: node.up ? "good" : "bad" }, `${node.up ? "up" : "down"}${node.kind === "java" ? ", Java" : ""}`),
    make("td", {}, node.offsetMs == null ? "" : `${node.offsetMs > 0 ? "+" : ""}${node.offsetMs.toFixed(1)} ms ± ${(node.uncertaintyMs ?? 0).toFixed(1)}`))))
  document.getElementById("node-names")?.remove()
  document.body.append(make("datalist", { id: "node-names" }, ...found.map(([name]) => make("option", { value: name }))))
}
const MAX_EVENTS = 100
const say = event => {
  const words = [event.type, event.taskId, event.node, event.state?.toLowerCase(), event.status?.verdict, event.text, event.error].filter(Boolean).join(" · ")
  const line = make("li", {}, make("time", {}, clock(event.atMs)), ` ${words.slice(0, 300)}`)
  if (event.error || /^not seen/.test(event.status?.verdict ?? "")) line.className = "bad"
  $("events").prepend(line)
  while ($("events").childElementCount > MAX_EVENTS) $("events").lastChild.remove()
}
const KINDS = ["task", "task-destroyed", "worker", "mark", "node-up", "node-down", "coordinator-start", "lease-expired", "freeze", "thaw", "resolved"]
const listen = last => {
  const stream = new EventSource(`/coordinator/events?after=${last}`)
  const heard = message => {
    const event = JSON.parse(message.data)
    say(event)
    if (event.taskId) refresh(event.taskId.replace(/\/\d+$/, ""))
    if (event.type.startsWith("node")) nodes()
    draw()
  }
  for (const kind of KINDS) stream.addEventListener(kind, heard)
  stream.addEventListener("sample", draw)
  stream.onopen = () => { $("link").textContent = "live"; $("link").className = "" }
  stream.onerror = () => { $("link").textContent = "the coordinator does not answer; trying again"; $("link").className = "bad" }
}
const start = async () => {
  const { seq, nowMs } = await send("GET", "/page/span")
  view.offset = nowMs - Date.now()
  learn([], (await send("GET", "/coordinator/tasks")).tasks ?? {})
  rows(); nodes(); draw(); listen(Math.max(0, seq - 30))
  setInterval(() => { if (view.live && !document.hidden) draw() }, 1000)
  setInterval(() => { if (!document.hidden) nodes().catch(() => {}) }, 5000)
  window.addEventListener("resize", draw)
}
start().catch(error => { $("link").textContent = error.message; $("link").className = "bad"; setTimeout(() => location.reload(), 3000) })
