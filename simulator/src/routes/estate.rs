//! What monitoring tools read: alarms, jobs, agents and the licence report.

use super::Call;
use crate::answer::{ApiError, Reply};
use crate::page;
use crate::route::Collection;
use crate::shape::Version;
use crate::world::estate;
use crate::world::{Kind, Organization};

pub(super) fn answer(call: &Call<'_>, collection: Collection) -> Result<Reply, ApiError> {
    let world = call.shared.world.read();
    let seen = world
        .organizations()
        .filter(|organization| call.viewer.sees(organization.uid));
    let companies = seen.filter(|organization| organization.kind == Kind::Company);
    let json = |organization: &Organization| {
        call.shape.finish(match collection {
            Collection::Agents => estate::agent(organization, call.shape.version),
            Collection::Alarms => estate::alarm(organization),
            Collection::Jobs => estate::job(organization),
            Collection::LicenseReports => {
                // The one member whose name was misspelt at first.
                let misspelt = call.shape.version < Version::V3_6;
                estate::license_report(organization, misspelt)
            }
        })
    };
    match collection {
        // The provider has one, about everybody; nobody else may know it.
        Collection::LicenseReports => {
            let provider = world.organizations().filter(|organization| {
                organization.kind == Kind::Provider && call.viewer.sees(organization.uid)
            });
            page::answer(provider, json, &call.query)
        }
        Collection::Agents | Collection::Alarms | Collection::Jobs => {
            page::answer(companies, json, &call.query)
        }
    }
}
