import type { WireMessage } from '../../lib/wire/message.ts'
import { hex } from '../support/bytes.ts'

/** Frames of START and CONTINUE with the digest of the file, in the form of golden.ts. */
export const digestVectors: readonly (readonly [WireMessage, frame: string])[] = [
  [
    {
      event: 'StartPostFileReq',
      fileName: 'a',
      size: 5,
      modifiedAt: 0,
      digest: 2,
      metadata: [],
      recipients: [],
      fileDigest: hex('abcd'),
    },
    '0000001e 01 00 0001 00000003 0001 0000 06d47876  0001 61 0000000000000005 0000000000000000 02 0000 0000 00000002 abcd',
  ],
  [
    {
      event: 'StartPostFileAck',
      instance: 0,
      progress: 0,
      chunk: 0,
      window: 0,
      stored: { storedName: 'a', replaced: 1 },
    },
    '00000016 01 00 0002 00000003 0001 0000 3ea59895  0000 0000000000000000 00000000 00000000 0001 61 01',
  ],
  [
    {
      event: 'ContinuePostFileReq',
      fileName: 'a',
      size: 5,
      modifiedAt: 0,
      digest: 2,
      progress: 0,
      metadata: [],
      recipients: [],
      fileDigest: hex('abcd'),
    },
    '00000026 01 00 000b 00000004 0001 0000 c507d702  0001 61 0000000000000005 0000000000000000 02 0000000000000000 0000 0000 00000002 abcd',
  ],
  [
    {
      event: 'ContinuePostFileAck',
      instance: 0,
      progress: 0,
      chunk: 0,
      window: 0,
      checkpoint: 0,
      checkpointDigest: hex(''),
      stored: { storedName: 'x/a', replaced: 0 },
    },
    '00000024 01 00 000c 00000004 0001 0000 4aa3fd3b  0000 0000000000000000 00000000 00000000 0000000000000000 00000000 0003 782f61 00',
  ],
]
