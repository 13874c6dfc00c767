import { crc32 } from 'node:zlib'
import { z } from 'zod'
import { userName } from '../../names.ts'
import type { Receipt } from '../../ports/clientState.ts'

const receipt = z.object({
  seq: z.int().min(0),
  sender: userName,
  id: z.string().regex(/^[0-9a-f]{32}$/u),
})

/** Eight hexadecimal digits of a CRC-32, a space, JSON. */
const line = /^([0-9a-f]{8}) (.*)$/u

/** A receipt as a line of a file, its end included. */
export function lineOf({ seq, sender, id }: Receipt): string {
  const text = JSON.stringify({ seq, sender, id })
  return `${sumOf(text)} ${text}\n`
}

/** The receipt of a line; `undefined` if it is none, or is damaged. */
export function receiptOf(text: string): Receipt | undefined {
  const [, sum, json = ''] = line.exec(text) ?? []
  return sum === sumOf(json) ? receipt.safeParse(jsonOf(json)).data : undefined
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Nothing, whose sum is right as well.
    return undefined
  }
}

const sumOf = (text: string) => crc32(text).toString(16).padStart(8, '0')
