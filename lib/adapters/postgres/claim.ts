import { OspError } from '../../errors.ts'
import type { Claim, NewTransfer, QuotaPart } from '../../ports/storage.ts'
import type { ClaimDecision, ClusterSessionLink, FoundUpload, TransferSteps } from '../cluster/steps.ts'
import type { Database, Queries } from './database.ts'
import {
  durableOffset,
  type EndedClaimRow,
  endedClaim,
  type FileChangeRow,
  type FileRow,
  fileChangeOfRow,
  fileRecordOfRow,
  type MarkerRow,
  markerOf,
  packedCheckpoints,
  type TransferRow,
  transferRecordOf,
} from './transferRows.ts'

type Name = Pick<Claim, 'user' | 'name'> & Pick<NewTransfer, 'storeAs'>
type Granted = Extract<ClaimDecision, { readonly record: unknown }>

interface FoundRow {
  readonly record: TransferRow | null
  readonly is_held: boolean
  readonly marker: MarkerRow | null
  readonly unpublished: string | null
  readonly other_names: readonly string[]
  readonly uploads: number
  readonly held: number
  readonly bytes: number
  readonly reserved: QuotaPart
  readonly announced: QuotaPart
  readonly added: QuotaPart
  readonly all_uploads: number
  readonly files: readonly FileRow[] | null
  readonly changes: readonly FileChangeRow[]
}

/**
 * Claims an upload in one transaction, which holds the lock of the user while `decide` runs. The database ends the transaction if
 * this takes several seconds, so that a stopped process does not block the user.
 */
export async function claimUpload(
  database: Database,
  by: ClusterSessionLink,
  upload: Name,
  decide: (found: FoundUpload) => Promise<ClaimDecision>,
  isRecovery = false,
): ReturnType<TransferSteps['claim']> {
  const { user, name, storeAs = name } = upload
  let undecided: { readonly error: unknown } | undefined
  const claimed = database.transaction(async (queries) => {
    const [row] = await queries.query<FoundRow>(begin, [
      ...[user, name, isRecovery ? null : by.session, by.server, by.link],
      storeAs,
    ])
    if (!row) throw new Error('the database has returned no row for a claim')
    const decision = await decide(foundOf(row)).catch((error) => {
      undecided = { error }
      throw new OspError('cancelled', 'the claim is not granted')
    })
    if ('record' in decision) return grant(queries, by, upload, decision, isRecovery)
    await queries.query(refuse, [user, name])
    return { completed: decision.completed }
  })
  return claimed.catch((error) => {
    throw undecided ? undecided.error : error
  })
}

function foundOf(row: FoundRow): FoundUpload {
  const { uploads, held, bytes, reserved, announced, added, all_uploads: allUploads } = row
  return {
    record: row.record ? transferRecordOf(row.record) : undefined,
    isHeld: row.is_held,
    reserved: { growth: row.record?.reserved ?? 0, entries: row.record?.reserved_entries ?? 0 },
    marker: row.marker ? markerOf(row.marker) : undefined,
    files: (row.files ?? []).map(fileRecordOfRow),
    changes: row.changes.map(fileChangeOfRow),
    unpublished: row.unpublished ?? undefined,
    otherNames: row.other_names,
    others: { uploads, held, bytes, reserved, announced, added, allUploads },
  }
}

async function grant(
  queries: Queries,
  by: ClusterSessionLink,
  { user, name }: Name,
  decision: Granted,
  isRecovery: boolean,
) {
  const { record, reserved } = decision
  const [row] = await queries.query<{ record: TransferRow; former: EndedClaimRow | null }>(grantClaim, [
    ...[user, name, by.session, by.server, by.link, record.owner.instance],
    ...[record.size, record.modifiedAt, record.algorithm, record.superseded],
    ...[packedCheckpoints(record.checkpoints), durableOffset(record.checkpoints), reserved.growth, reserved.entries],
    record.verified ? JSON.stringify(record.verified) : null,
    ...[record.verifiedStamp ?? null, record.updatedAt, isRecovery],
    ...[record.metadata ? JSON.stringify(record.metadata) : null, record.storeAs ?? null],
  ])
  if (!row) throw new Error('a claim was not stored')
  const granted = transferRecordOf(row.record)
  return {
    claim: { user, name, token: granted.token },
    record: granted,
    released: row.record.released,
    ...(row.former && { former: endedClaim({ user, name }, row.former) }),
  }
}

const begin = { name: 'claim-begin', text: 'SELECT * FROM ospd.begin_claim_2($1, $2, $3, $4, $5, $6)' }

const refuse = { name: 'claim-completed', text: 'SELECT ospd.refuse_claim_1($1, $2)' }

const grantClaim = {
  name: 'claim-grant',
  text: 'SELECT * FROM ospd.grant_claim_2($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, false, $18, $19, $20)',
}
