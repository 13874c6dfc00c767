import type { WireMessage } from '../../lib/wire/message.ts'
import { hex } from '../support/bytes.ts'

/** Frames of receipts, in the form of golden.ts. */
export const receiptVectors: readonly (readonly [WireMessage, frame: string])[] = [
  [
    {
      event: 'FileMd5Req',
      digest: hex('abcd'),
      notice: { messageId: hex('000102030405060708090a0b0c0d0e0f'), recipients: [] },
      receipts: 1,
    },
    '00000019 01 00 0006 00000003 0001 00c7 21808122  00000002 abcd 000102030405060708090a0b0c0d0e0f 0000 01',
  ],
  [
    { event: 'FileMd5Ack', storedName: 'a', replaced: 0, unseen: [], notified: ['ingest'] },
    '00000010 01 00 0007 00000003 0001 00c7 556f53e0  0001 61 00 0000 0001 0006 696e67657374',
  ],
  [
    { event: 'FileMd5Ack', storedName: 'a', replaced: 0, unseen: ['bob'] },
    '0000000b 01 00 0007 00000003 0001 00c7 0d1c05b9  0001 61 00 0001 0003 626f62',
  ],
  [
    { event: 'DeliverMsgAck', mailboxSeq: 19, rejected: [], results: [{ mailboxSeq: 19, result: 'done' }] },
    '0000001a 01 00 0019 00000001 0002 0000 c761eba6  0000000000000013 0000 0001 0000000000000013 0004 646f6e65',
  ],
  [
    { event: 'DeliverMsgNtf', mailboxSeq: 17, results: [{ mailboxSeq: 17, result: '' }] },
    '00000014 01 00 001e 00000000 0002 0000 7875d50e  0000000000000011 0001 0000000000000011 0000',
  ],
  [
    { event: 'RemoveMsgReq', mailboxSeqs: [17], flags: 2 },
    '0000000b 01 00 0038 00000007 0002 0000 227915b7  0001 0000000000000011 02',
  ],
  [{ event: 'ReceiptsNtf' }, '00000000 01 00 003b 00000000 0002 0000 d8fe8d5b'],
]
