/** One line of a chart: points with positive coordinates. */
export interface Series {
  readonly name: string
  readonly points: readonly (readonly [x: number, y: number])[]
}

interface ChartOptions {
  readonly title: string
  readonly x: string
  readonly y: string
  readonly labelOf?: (x: number) => string
}

const width = 640
const height = 360
const left = 70
const right = 150
const top = 36
const bottom = 50
const colours = ['#1b6ca8', '#c0392b', '#2e8b57', '#8e44ad', '#b7791f', '#555555']

/** Draws series as an SVG image; the x axis is logarithmic and has a mark at each point. */
export function chart(series: readonly Series[], { title, x, y, labelOf = String }: ChartOptions): string {
  const xs = [...new Set(series.flatMap(({ points }) => points.map(([at]) => at)))].sort((a, b) => a - b)
  const most = Math.max(1e-9, ...series.flatMap(({ points }) => points.map(([, value]) => value)))
  const step = niceStep(most / 4)
  const highest = Math.ceil(most / step) * step
  const log = (at: number) => Math.log(Math.max(at, 1))
  const [first = 0, last = 0] = [xs[0], xs.at(-1)].map((at) => log(at ?? 1))
  const px = (at: number) => left + ((log(at) - first) / (last - first || 1)) * (width - left - right)
  const py = (value: number) => height - bottom - (value / highest) * (height - top - bottom)
  const lines: string[] = []
  for (let value = 0; value <= highest + step / 2; value += step) {
    const at = py(value).toFixed(1)
    lines.push(`<line x1="${left}" y1="${at}" x2="${width - right}" y2="${at}" stroke="#dddddd"/>`)
    lines.push(text(left - 6, py(value) + 4, Number(value.toPrecision(6)).toLocaleString('en'), 'end'))
  }
  for (const at of xs) lines.push(text(px(at), height - bottom + 16, labelOf(at), 'middle'))
  for (const [index, { name, points }] of series.entries()) {
    const colour = colours[index % colours.length]
    const path = points.map(([at, value]) => `${px(at).toFixed(1)},${py(value).toFixed(1)}`).join(' ')
    lines.push(`<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`)
    for (const point of path.split(' ')) {
      const [cx, cy] = point.split(',')
      lines.push(`<circle cx="${cx}" cy="${cy}" r="3" fill="${colour}"/>`)
    }
    const row = top + 16 * index
    lines.push(`<rect x="${width - right + 12}" y="${row}" width="10" height="10" fill="${colour}"/>`)
    lines.push(text(width - right + 28, row + 9, name, 'start'))
  }
  lines.push(text(left, 20, title, 'start', 'bold'), text((left + width - right) / 2, height - 10, x, 'middle'))
  lines.push(`<g transform="rotate(-90 14 ${height / 2})">${text(14, height / 2, y, 'middle')}</g>`)
  const box = `viewBox="0 0 ${width} ${height}" width="${width}" height="${height}"`
  return `<svg xmlns="http://www.w3.org/2000/svg" ${box} font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="#ffffff"/>\n${lines.join('\n')}\n</svg>\n`
}

function niceStep(about: number): number {
  const power = 10 ** Math.floor(Math.log10(about))
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= about) ?? about
}

function text(x: number, y: number, content: string, anchor: string, weight = 'normal'): string {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" font-weight="${weight}">${escaped}</text>`
}
