//! What each organization has without its being stored: an agent, a job, an alarm, a licence report.
//!
//! All of it follows from the organization, so that it costs nothing however many there are.

use serde_json::{Value, json};
use uuid::Uuid;

use super::Organization;
use crate::shape::Version;

/// When everything here was last heard of.
const THEN: &str = "2024-05-01T08:00:00.0000000+00:00";

/// What belongs to an organization; each kind has UIDs of its own.
#[derive(Clone, Copy, Debug)]
enum Part {
    Agent = 1,
    Alarm,
    AlarmActivation,
    AlarmTemplate,
    Job,
    Location,
    Server,
}

impl Part {
    fn of(self, organization: &Organization) -> Uuid {
        // A byte that is the same in all UIDs of generated organizations, and free of the version.
        Uuid::from_u128(organization.uid.as_u128() ^ ((self as u128) << 40))
    }
}

fn server_name(organization: &Organization) -> String {
    let letters = organization
        .name
        .chars()
        .filter(char::is_ascii_alphanumeric);
    format!("{}-vbr", letters.collect::<String>().to_lowercase())
}

/// Returns the `ManagementAgent` object.
pub(crate) fn agent(organization: &Organization, version: Version) -> Value {
    let name = server_name(organization);
    let mut agent = json!({
        "instanceUid": Part::Agent.of(organization),
        "organizationUid": organization.uid,
        "locationUid": Part::Location.of(organization),
        "hostName": name,
        "friendlyName": null,
        "lastHeartbeatTime": THEN,
        "version": "9.3.0.34000",
        "discoveryTime": THEN,
        "status": "Healthy",
        "type": "Client",
        "connectionStatus": "Online",
        "isRebootRequired": false,
        "connectionAccount": null,
        "versionStatus": "UpToDate",
        "role": "Client",
    });
    if let Some(members) = agent.as_object_mut() {
        if version < Version::V3_7 {
            members.insert("tag".to_owned(), Value::Null);
        } else {
            members.insert("agentLabel".to_owned(), Value::Null);
            members.insert("clusteredAgentUids".to_owned(), json!([]));
        }
    }
    agent
}

/// Returns the `ActiveAlarm` object.
pub(crate) fn alarm(organization: &Organization) -> Value {
    let name = server_name(organization);
    json!({
        "instanceUid": Part::Alarm.of(organization),
        "alarmTemplateUid": Part::AlarmTemplate.of(organization),
        "repeatCount": 1,
        "object": {
            "instanceUid": Part::Server.of(organization),
            "type": "BackupServer",
            "organizationUid": organization.uid,
            "locationUid": Part::Location.of(organization),
            "managementAgentUid": Part::Agent.of(organization),
            "computerName": name,
            "objectUid": Part::Server.of(organization),
            "objectName": name,
        },
        "lastActivation": {
            "instanceUid": Part::AlarmActivation.of(organization),
            "time": THEN,
            "status": "Warning",
            "message": "The free space of a repository is below 10%.",
            "remark": null,
        },
        "area": "vspc",
    })
}

/// Returns the `BackupServerJob` object.
pub(crate) fn job(organization: &Organization) -> Value {
    json!({
        "instanceUid": Part::Job.of(organization),
        "uniqueUid": Part::Job.of(organization),
        "name": format!("{} daily", organization.name),
        "description": "All virtual machines, every night",
        "createdBy": "simulator",
        "creationTime": THEN,
        "backupServerUid": Part::Server.of(organization),
        "locationUid": Part::Location.of(organization),
        "siteUid": null,
        "organizationUid": organization.uid,
        "mappedOrganizationUid": null,
        "status": "Success",
        "type": "BackupVm",
        "lastRun": THEN,
        "lastEndTime": THEN,
        "lastDuration": 0,
        "processingRate": null,
        "avgDuration": null,
        "transferredData": 0,
        "backupChainSize": null,
        "bottleneck": "None",
        "isEnabled": true,
        "scheduleType": "Daily",
        "failureMessage": null,
        "targetType": "Local",
        "destination": "Default Backup Repository",
        "retentionLimit": 7,
        "retentionLimitType": "Days",
        "isGfsOptionEnabled": false,
        "lastSessionTasks": [],
    })
}

/// Returns the `SingleLicenseReport` object.
pub(crate) fn license_report(organization: &Organization, misspelt: bool) -> Value {
    let parameters = if misspelt {
        "reportParemeters"
    } else {
        "reportParameters"
    };
    json!({
        "reportStatus": "Approved",
        parameters: {
            "reportId": 1,
            "organizationName": organization.name,
            "organizationUid": organization.uid,
            "licenseCompanyName": organization.name,
            "generationDate": "2024-05-01",
            "reportInterval": { "startOfInterval": "2024-04-01", "endOfInterval": "2024-04-30" },
        },
        "reportSummary": { "totalPoints": 0.0, "productsUsage": [] },
        "organizationsUsage": [],
        "notCollectedCloudServers": [],
        "clonedCloudServers": [],
        "unsupportedCloudServers": [],
        "usageDetails": [],
        "appendices": [],
    })
}
