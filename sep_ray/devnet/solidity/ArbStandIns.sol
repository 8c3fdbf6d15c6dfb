// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

// Stand-ins for what Arbitrum's node itself provides (ArbSys 0x64, ArbRetryableTx 0x6e,
// NodeInterface 0xC8): the real interfaces and events, over ordinary storage, for a local chain
// that is Arbitrum by number only. What the node does by itself, SEQUENCER does here.

/// ArbSys: messages to the parent chain, as leaves of the tree its Outbox checks against.
contract ArbSysStandIn {
    bytes32[] public leaves;

    event L2ToL1Tx(
        address caller,
        address indexed destination,
        uint256 indexed hash,
        uint256 indexed position,
        uint256 arbBlockNum,
        uint256 ethBlockNum,
        uint256 timestamp,
        uint256 callvalue,
        bytes data
    );

    function sendTxToL1(address destination, bytes calldata data)
        external
        payable
        returns (uint256)
    {
        uint256 position = leaves.length;
        bytes32 item = keccak256(
            abi.encodePacked(
                msg.sender,
                destination,
                block.number,
                block.number,
                block.timestamp,
                msg.value,
                data
            )
        );
        leaves.push(keccak256(abi.encodePacked(item)));
        (bool burned,) = payable(address(0)).call{value: msg.value}("");
        require(burned);
        emit L2ToL1Tx(
            msg.sender,
            destination,
            uint256(item),
            position,
            block.number,
            block.number,
            block.timestamp,
            msg.value,
            data
        );
        return position;
    }

    function count() external view returns (uint256) {
        return leaves.length;
    }

    function arbBlockNumber() external view returns (uint256) {
        return block.number;
    }
}

/// NodeInterface: proofs over the first `size` leaves, an empty subtree being zero.
contract NodeInterfaceStandIn {
    ArbSysStandIn constant ARB_SYS = ArbSysStandIn(address(0x64));

    function constructOutboxProof(uint64 size, uint64 leaf)
        external
        view
        returns (bytes32 send, bytes32 root, bytes32[] memory proof)
    {
        require(leaf < size, "leaf is not in the tree");
        uint256 width = 1;
        uint256 depth = 0;
        while (width < size) {
            width *= 2;
            depth += 1;
        }
        bytes32[] memory row = new bytes32[](width);
        for (uint256 n = 0; n < size; n++) row[n] = ARB_SYS.leaves(n);
        send = row[leaf];
        proof = new bytes32[](depth);
        uint256 at = leaf;
        for (uint256 level = 0; level < depth; level++) {
            proof[level] = row[at ^ 1];
            for (uint256 n = 0; n < width / 2; n++) {
                row[n] = keccak256(abi.encodePacked(row[2 * n], row[2 * n + 1]));
            }
            width /= 2;
            at /= 2;
        }
        root = row[0];
    }
}

/// Stands at the alias of a parent-chain contract, so that a retry comes from that address.
contract AliasStandIn {
    function forward(address to, bytes calldata data) external payable returns (bool done) {
        require(msg.sender == address(0x6e), "only retryables");
        (done,) = to.call{value: msg.value}(data);
        if (!done) {
            (bool back,) = msg.sender.call{value: msg.value}("");
            require(back);
        }
    }
}

/// ArbRetryableTx: tickets of seven days that anyone may redeem.
///
/// The node runs a retry as a transaction of its own, named in RedeemScheduled; here it runs
/// inside the redeeming one and retryTxHash is zero.
contract ArbRetryableStandIn {
    struct Ticket {
        address from;
        address to;
        address beneficiary;
        uint256 value;
        uint256 gas;
        uint256 timeout;
        uint64 tries;
        bytes data;
    }

    error NoTicketWithID();
    error NotCallable();

    address public immutable SEQUENCER;
    uint256 public constant LIFETIME = 7 days;
    mapping(bytes32 => Ticket) private tickets;

    event TicketCreated(bytes32 indexed ticketId);
    event LifetimeExtended(bytes32 indexed ticketId, uint256 newTimeout);
    event RedeemScheduled(
        bytes32 indexed ticketId,
        bytes32 indexed retryTxHash,
        uint64 indexed sequenceNum,
        uint64 donatedGas,
        address gasDonor,
        uint256 maxRefund,
        uint256 submissionFeeRefund
    );
    event Canceled(bytes32 indexed ticketId);

    constructor(address sequencer) {
        SEQUENCER = sequencer;
    }

    receive() external payable {}

    /// What the node does with a submission: the ticket, and one try if gas was paid for.
    function submit(
        bytes32 ticketId,
        address from,
        address to,
        address beneficiary,
        uint256 gas,
        bytes calldata data
    ) external payable {
        if (msg.sender != SEQUENCER) revert NotCallable();
        tickets[ticketId] = Ticket(
            from, to, beneficiary, msg.value, gas, block.timestamp + LIFETIME, 0, data
        );
        emit TicketCreated(ticketId);
        if (gas > 0) _retry(ticketId, gas);
    }

    function redeem(bytes32 ticketId) external returns (bytes32) {
        _live(ticketId);
        _retry(ticketId, gasleft() - gasleft() / 32);
        return bytes32(0);
    }

    function keepalive(bytes32 ticketId) external returns (uint256) {
        Ticket storage ticket = _live(ticketId);
        require(ticket.timeout < block.timestamp + LIFETIME, "timeout too far into the future");
        ticket.timeout += LIFETIME;
        emit LifetimeExtended(ticketId, ticket.timeout);
        return ticket.timeout;
    }

    function cancel(bytes32 ticketId) external {
        Ticket storage ticket = _live(ticketId);
        require(msg.sender == ticket.beneficiary, "only the beneficiary may cancel a retryable");
        _refund(ticketId, ticket);
        emit Canceled(ticketId);
    }

    /// What the node does when a ticket's time is over: its call value goes to the beneficiary.
    function expire(bytes32 ticketId) external {
        Ticket storage ticket = tickets[ticketId];
        require(ticket.timeout != 0 && ticket.timeout <= block.timestamp, "not expired");
        _refund(ticketId, ticket);
    }

    function getTimeout(bytes32 ticketId) external view returns (uint256) {
        return _live(ticketId).timeout;
    }

    function getBeneficiary(bytes32 ticketId) external view returns (address) {
        return _live(ticketId).beneficiary;
    }

    function getLifetime() external pure returns (uint256) {
        return LIFETIME;
    }

    function _live(bytes32 ticketId) private view returns (Ticket storage ticket) {
        ticket = tickets[ticketId];
        if (ticket.timeout <= block.timestamp) revert NoTicketWithID();
    }

    function _retry(bytes32 ticketId, uint256 gas) private {
        Ticket memory ticket = tickets[ticketId];
        tickets[ticketId].tries = ticket.tries + 1;
        emit RedeemScheduled(ticketId, bytes32(0), ticket.tries, uint64(gas), msg.sender, 0, 0);
        try AliasStandIn(ticket.from).forward{gas: gas, value: ticket.value}(
            ticket.to, ticket.data
        ) returns (bool done) {
            if (done) delete tickets[ticketId];
        } catch {}
    }

    function _refund(bytes32 ticketId, Ticket storage ticket) private {
        address beneficiary = ticket.beneficiary;
        uint256 value = ticket.value;
        delete tickets[ticketId];
        (bool paid,) = beneficiary.call{value: value}("");
        require(paid);
    }
}

/// The beacon that Arbitrum's bridged tokens read their code from; a package of it has no bytecode.
contract BeaconStandIn {
    address public immutable implementation;

    constructor(address implementation_) {
        implementation = implementation_;
    }
}
