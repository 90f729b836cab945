//! Records as there are most.

/// A usual record. There are a hundred in a second.
pub(crate) fn line(seq: u64) -> String {
    let (second, part) = (seq / 100 % 60, seq % 100);
    let minute = seq / 6000 % 60;
    let uid = seq % 50;
    let (code, status) = match seq % 100 {
        99 => ("operation_denied", 403),
        _ => ("ok", 200),
    };
    format!(
        r#"{{"seq":{seq},"time":"2026-03-04T05:{minute:02}:{second:02}.{part:02}0000Z","kind":"request","request_id":"01KJW{seq:021}","config":"3f9a","client":"client-{}","credential":"api_key:12345678","source":"10.0.{}.7","tenant":"tenant-{uid}","mapping":"mapping.tenant_header","console":"main","target":{{"uid":"00000000-0000-4000-8000-{uid:012}","name":"user-{uid}"}},"operation":"plain","method":"GET","path":"/api/v3/organizations/companies/{seq}","query":"limit=100","rule":"allow[0]","code":"{code}","status":{status},"bytes_in":0,"bytes_out":4312,"duration_us":8123,"attempts":1,"lease":"0123456789abcdef"}}"#,
        seq % 20,
        seq % 250,
    )
}
