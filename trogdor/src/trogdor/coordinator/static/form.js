"use strict"
// A form from a JSON Schema: what it cannot show as fields (unions, free JSON) is a box of JSON.

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes))
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value)
  element.append(...children)
  return element
}

class Form {
  // `nodes` names a <datalist>; `changed` is called after every change.
  constructor(root, schema, value, nodes, changed) {
    this.definitions = schema.$defs ?? {}
    this.nodes = nodes
    this.changed = changed
    const hidden = new Set(["class", "startMs", "durationMs"])
    this.fields = Object.entries(schema.properties ?? {})
      .filter(([name]) => !hidden.has(name))
      .map(([name, field]) => [name, this.field(name, field, value[name])])
    root.replaceChildren(...this.fields.map(([, field]) => field.element))
  }

  // What is filled in; what is left empty is left out.
  value() {
    return Object.fromEntries(this.fields.map(([name, field]) => [name, field.value()]).filter(([, value]) => value !== undefined))
  }

  resolve(schema) {
    if (schema.$ref) return { ...this.definitions[schema.$ref.split("/").pop()], description: schema.description }
    const choices = (schema.anyOf ?? []).filter(choice => choice.type !== "null")
    if (choices.length === 1) return this.resolve({ ...choices[0], description: schema.description ?? choices[0].description })
    return schema
  }

  field(name, given, value) {
    const schema = this.resolve(given)
    if (schema.enum) return this.choice(name, schema, value)
    if (schema.type === "boolean") return this.input(name, schema, value, "checkbox")
    if (schema.type === "integer" || schema.type === "number") return this.input(name, schema, value, "number")
    if (schema.type === "string") return this.input(name, schema, value, "text")
    if (schema.type === "array" && schema.items) return this.list(name, schema, value ?? [])
    if (schema.type === "object" && schema.properties) return this.object(name, schema, value ?? {})
    return this.free(name, schema, value)
  }

  labelled(name, schema, control) {
    control.setAttribute("data-field", name)
    const label = make("label", { class: "field" }, name, control)
    return schema.description ? make("div", {}, label, make("p", { class: "hint" }, schema.description)) : label
  }

  input(name, schema, value, type) {
    const control = make("input", { type, list: type === "text" ? this.nodes : undefined, step: type === "number" ? "any" : undefined })
    if (type === "checkbox") control.checked = value ?? schema.default ?? false
    else control.value = value ?? ""
    if (schema.default !== undefined && type !== "checkbox" && typeof schema.default !== "object") control.placeholder = schema.default
    control.addEventListener("input", this.changed)
    const read = {
      checkbox: () => (control.checked === (schema.default ?? false) ? undefined : control.checked),
      number: () => (control.value === "" ? undefined : Number(control.value)),
      text: () => (control.value === "" ? undefined : control.value),
    }
    return { element: this.labelled(name, schema, control), value: read[type] }
  }

  choice(name, schema, value) {
    const control = make("select", {}, ...schema.enum.map(option => make("option", {}, String(option))))
    control.value = value ?? schema.default ?? schema.enum[0]
    control.addEventListener("change", this.changed)
    return { element: this.labelled(name, schema, control), value: () => (control.value === schema.default ? undefined : control.value) }
  }

  object(name, schema, value) {
    const fields = Object.entries(schema.properties).map(([key, field]) => [key, this.field(key, field, value[key])])
    const element = make("fieldset", {}, make("legend", {}, name), ...fields.map(([, field]) => field.element))
    const read = () => {
      const found = fields.map(([key, field]) => [key, field.value()]).filter(([, item]) => item !== undefined)
      return found.length ? Object.fromEntries(found) : undefined
    }
    return { element, value: read }
  }

  list(name, schema, value) {
    const items = []
    const rows = make("div")
    const add = (item) => {
      const field = this.field(`${name} ${items.length + 1}`, schema.items, item)
      const entry = { field }
      const remove = make("button", { type: "button", "aria-label": `Remove from ${name}` }, "−")
      const row = make("div", { class: "item" }, field.element, remove)
      remove.addEventListener("click", () => { items.splice(items.indexOf(entry), 1); row.remove(); this.changed() })
      items.push(entry)
      rows.append(row)
    }
    value.forEach(add)
    const more = make("button", { type: "button" }, `Add to ${name}`)
    more.addEventListener("click", () => { add(undefined); rows.lastChild.querySelector("input,select,textarea,button")?.focus(); this.changed() })
    const hint = schema.description ? [make("p", { class: "hint" }, schema.description)] : []
    const element = make("fieldset", {}, make("legend", {}, name), ...hint, rows, more)
    const read = () => {
      const found = items.map(entry => entry.field.value()).filter(item => item !== undefined)
      return found.length ? found : undefined
    }
    return { element, value: read }
  }

  free(name, schema, value) {
    const control = make("textarea", { rows: 3, spellcheck: "false" })
    control.value = value === undefined ? "" : JSON.stringify(value)
    control.addEventListener("input", this.changed)
    const read = () => {
      if (control.value.trim() === "") return undefined
      try { return JSON.parse(control.value) } catch { return control.value }
    }
    return { element: this.labelled(name, schema, control), value: read }
  }
}
