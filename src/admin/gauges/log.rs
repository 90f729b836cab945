//! The gauges of the audit log.

use prometheus_client::registry::Registry;

use super::Gauges;

impl Gauges {
    pub(super) fn register_audit(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            (
                "audit_queued_records",
                "Records that wait for the writer",
                &self.audit_queued,
            ),
            (
                "audit_failing",
                "1 while the audit log cannot be written",
                &self.audit_failing,
            ),
            (
                "audit_written_records",
                "Records written since the start",
                &self.audit_written,
            ),
            (
                "audit_syncs",
                "Group commits since the start",
                &self.audit_syncs,
            ),
            (
                "audit_refused",
                "Requests refused for want of audit",
                &self.audit_refused,
            ),
            (
                "audit_next_seq",
                "The number that the next record gets",
                &self.audit_next_seq,
            ),
            (
                "frozen",
                "Freezes in force: everything, tenants and clients",
                &self.frozen,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        self.register_log(registry);
    }

    fn register_log(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            ("audit_files", "Files of the log", &self.audit_files),
            (
                "audit_file_bytes",
                "Bytes of the files of the log and their indexes",
                &self.audit_file_bytes,
            ),
            (
                "audit_first_seq",
                "The number of the oldest record that is kept",
                &self.audit_first_seq,
            ),
            (
                "audit_held_files",
                "Files kept beyond audit.retention since a sink or checkpoint is behind",
                &self.audit_held_files,
            ),
            (
                "audit_checkpoint_size",
                "Records that the latest checkpoint of the audit log covers",
                &self.audit_checkpoint_size,
            ),
            (
                "audit_checkpoint_age_seconds",
                "For how long there have been records that no checkpoint covers; 0 without such",
                &self.audit_checkpoint_age,
            ),
            (
                "audit_second_place_failing",
                "1 while checkpoints do not get to the second place",
                &self.audit_second_place_failing,
            ),
            (
                "audit_damage_found",
                "How often the log's newest files, tree, checkpoints or second place were found meddled with since the \
                 start, and how many finished files are not as they were: see `vspc-gateway audit verify`",
                &self.audit_damage_found,
            ),
            (
                "audit_flight_slots_used",
                "Requests that are noted in the flight recorder",
                &self.audit_in_flight,
            ),
            (
                "audit_flight_slots",
                "How many requests the flight recorder can hold",
                &self.audit_flight_slots,
            ),
            (
                "audit_closed_unknown",
                "Requests of processes that had died, closed as unknown by this one",
                &self.audit_closed_unknown,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
    }
}
