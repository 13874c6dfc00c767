import { machine } from './machine.ts'

/**
 * The states of a FileApp instance, as the seed's charts draw them (多文件上传, 暂停发送, 继续发送, 断点续传), and
 * besides them only: cancelled, restarted, taken over, refused (disk full, quota),
 * stalled, shut down. A transition that a
 * request causes is named after it.
 */
export const fileInstance = machine({
  IDLE: { StartPostFileReq: 'RECEIVE_FILE', ContinuePostFileReq: 'RECEIVE_FILE' },
  RECEIVE_FILE: {
    FileMd5Req: 'IDLE',
    PauseFileReq: 'IDLE',
    CancelFileReq: 'IDLE',
    linkLost: 'IDLE',
    restarted: 'IDLE',
    refused: 'IDLE',
    stalled: 'IDLE',
    shutDown: 'IDLE',
    takenOver: 'RECEIVE_FILE',
  },
})

/** The states of a MsgApp instance, as the seed's chart draws them (在线客户端列表), and besides them only: taken over, shut down. */
export const messageInstance = machine({
  IDLE: { RegistReq: 'RECEIVE_MSG' },
  RECEIVE_MSG: { linkLost: 'IDLE', takenOver: 'RECEIVE_MSG', shutDown: 'IDLE' },
})
