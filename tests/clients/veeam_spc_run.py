"""Drives a console, or the gateway before it, with `veeam-spc` from PyPI as its users would.

    veeam_spc_run.py URL USER PASSWORD [USER PASSWORD ...]

All users work at the same time, each in a session of its own: log in, read, renew the token, make a
key for oneself and delete it again, present the password as a key, and log in with a wrong one. It
prints one JSON object with what it did and saw, and fails on the first thing that is not as it
should be. The requests in it are those that httpx logs, not those that this script means to make.
"""

import asyncio
import json
import logging
import sys
import uuid
from contextvars import ContextVar
from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

from veeam_spc import VeeamClient
from veeam_spc.v3_7.models.add_api_key_login_scopes_item import AddApiKeyLoginScopesItem

VERSION = "3.7"
PATIENCE = 90

requests_of_user: ContextVar[list] = ContextVar("requests_of_user")


class Requests(logging.Handler):
    """Notes each request that httpx says it has made, for the user on whose behalf it was."""

    def emit(self, record):
        method, url, _, status, _ = record.args
        url = urlsplit(str(url))
        target = url.path + ("?" + url.query if url.query else "")
        requests_of_user.get().append({"method": method, "target": target, "status": status})


def expect(condition, *told):
    if not condition:
        raise AssertionError(" ".join(str(part) for part in told))


def data(answer):
    expect(answer is not None, "an answer that the client cannot read")
    answer = answer.to_dict()
    expect("data" in answer, "refused:", answer)
    return answer["data"]


async def pages(client):
    """Reads all identities, one a page."""
    seen, total = [], None
    while total is None or len(seen) < total:
        page = await client.call(client.api("accounts").get_logins, limit=1, offset=len(seen))
        logins = data(page)
        total = page.to_dict()["meta"]["pagingInfo"]["total"]
        expect(len(logins) == 1, "a page of one has", len(logins))
        seen.append(logins[0]["id"])
    expect(len(set(seen)) == total, "identities come twice:", seen)
    return seen


async def renew(client):
    """Lets the client believe that an hour has passed, and makes a call."""
    before = (client._access_token, client._refresh_token)
    client._expires_at = datetime.now(timezone.utc) - timedelta(seconds=1)
    me = data(await client.call(client.api("accounts").get_current_user))
    after = (client._access_token, client._refresh_token)
    expect(None not in after, "a renewal without tokens")
    expect(before[0] != after[0] and before[1] != after[1], "the tokens were not renewed")
    expect(client._expires_at > datetime.now(timezone.utc), "the new token is dead already")
    return me["instanceUid"]


async def make_and_delete_key(client, owner):
    accounts = client.api("accounts")

    async def ids():
        return [login["id"] for login in data(await client.call(accounts.get_user_logins, owner))]

    made = data(
        await client.call(
            accounts.add_api_key_login,
            owner,
            description="key of the nightly report",
            scopes=[AddApiKeyLoginScopesItem.REST],
            # The client takes a UUID here and then cannot send it; a text it sends.
            x_request_id=str(uuid.uuid4()),
        )
    )
    expect(len(made["parameters"]) >= 64, "the key is missing in", made)
    expect(made["userUid"] == owner, "the key is another user's:", made)
    expect(made["id"] in await ids(), "the key is not listed")
    one = data(await client.call(accounts.get_user_login, owner, made["id"]))
    expect(one["identityProviderName"] == "AK", "not a key:", one)
    expect(not one.get("parameters"), "the key was said twice")
    expect(data(await client.call(accounts.delete_user_login, owner, made["id"])), "not deleted")
    expect(made["id"] not in await ids(), "the key outlived its deletion")
    return {"id": made["id"], "secret": made["parameters"]}


async def refusal(client):
    """Asks what only administrators of the provider may."""
    answer = (await client.call(client.api("about").get_about_information)).to_dict()
    expect("errors" in answer, "/about was answered to a company's user:", answer)
    return answer["errors"][0]["code"]


async def wrong_password(url, user, password):
    """Logs in with a password whose last character is wrong, and tells how the client fails."""
    wrong = password[:-1] + ("x" if password[-1] != "x" else "y")
    try:
        await VeeamClient(url, VERSION, username=user, password=wrong).connect()
    except AttributeError as error:
        # The client reads the refusal and then looks for a token in it.
        expect("OAuth2Error" in str(error), "another fault:", error)
        return str(error)
    raise AssertionError("a wrong password was accepted")


async def work(url, user, password, keys_work):
    requests = []
    requests_of_user.set(requests)
    client = VeeamClient(url, VERSION, username=user, password=password)
    await client.connect()
    accounts = client.api("accounts")
    me = data(await client.call(accounts.get_current_user))
    owner = me["instanceUid"]
    companies = data(await client.call(client.api("companies").get_companies))
    users = data(await client.call(accounts.get_users))
    listed = await pages(client)
    expect(await renew(client) == owner, "another user after the renewal")
    key = await make_and_delete_key(client, owner)
    expect(await pages(client) == listed, "the identities are not as they were")
    about = await refusal(client)
    expect(await renew(client) == owner, "another user after the second renewal")
    if keys_work:
        bearer = VeeamClient(url, VERSION, token=password)
        await bearer.connect()
        same = data(await bearer.call(bearer.api("accounts").get_current_user))
        expect(same["instanceUid"] == owner, "another user by the key alone")
    return {
        "user": user,
        "me": owner,
        "me_name": me["userName"],
        "companies": [company["name"] for company in companies],
        "users": [user["userName"] for user in users],
        "logins": listed,
        "key": key,
        "about": about,
        "wrong_password": await wrong_password(url, user, password),
        "requests": requests,
    }


async def main(arguments):
    keys_work = "--keys" in arguments
    arguments = [argument for argument in arguments if argument != "--keys"]
    if len(arguments) < 3 or len(arguments) % 2 == 0:
        sys.exit(__doc__)
    url, logins = arguments[0], list(zip(arguments[1::2], arguments[2::2]))
    logger = logging.getLogger("httpx")
    logger.setLevel(logging.INFO)
    logger.addHandler(Requests())
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(url, *login, keys_work)) for login in logins]
    print(json.dumps({"logins": [task.result() for task in tasks]}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
