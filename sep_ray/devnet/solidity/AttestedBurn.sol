// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

// An attested burn-and-mint bridge with the interface, message layout and rules of CCTP V2, for
// local chains: a token burned here is minted there once the attesters have signed the message.
// Two contracts, as the original splits them. Simplified: one token per messenger, no hooks, the
// owner sets attesters, pauses and denies at once.

interface IBurnable {
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
    function mint(address to, uint256 amount) external returns (bool);
    function burn(uint256 amount) external;
}

abstract contract Owned {
    address public owner;
    bool public paused;

    constructor(address owner_) {
        owner = owner_;
    }

    modifier onlyOwner() {
        require(msg.sender == owner, "Ownable: caller is not the owner");
        _;
    }

    modifier whenNotPaused() {
        require(!paused, "Pausable: paused");
        _;
    }

    function pause() external onlyOwner {
        paused = true;
    }

    function unpause() external onlyOwner {
        paused = false;
    }
}

/// Sends messages out and lets attested ones in, each nonce once.
///
/// Message: version 0, sourceDomain 4, destinationDomain 8, nonce 12, sender 44, recipient 76,
/// destinationCaller 108, minFinalityThreshold 140, finalityThresholdExecuted 144, body 148. The
/// nonce and the executed threshold are zero when sent; the attesters fill them in.
contract AttestedTransmitter is Owned {
    uint32 public constant version = 1;
    uint32 public immutable localDomain;
    uint256 public signatureThreshold;
    mapping(address => bool) public isEnabledAttester;
    mapping(bytes32 => uint256) public usedNonces;

    event MessageSent(bytes message);
    event MessageReceived(
        address indexed caller,
        uint32 sourceDomain,
        bytes32 indexed nonce,
        bytes32 sender,
        uint32 indexed finalityThresholdExecuted,
        bytes messageBody
    );

    constructor(address owner_, uint32 localDomain_) Owned(owner_) {
        localDomain = localDomain_;
    }

    function setAttesters(address[] calldata attesters, uint256 threshold) external onlyOwner {
        require(threshold > 0 && threshold <= attesters.length, "Invalid signature threshold");
        for (uint256 n = 0; n < attesters.length; n++) {
            isEnabledAttester[attesters[n]] = true;
        }
        signatureThreshold = threshold;
    }

    function sendMessage(
        uint32 destinationDomain,
        bytes32 recipient,
        bytes32 destinationCaller,
        uint32 minFinalityThreshold,
        bytes calldata messageBody
    ) external whenNotPaused {
        require(destinationDomain != localDomain, "Domain is local domain");
        bytes32 sender = bytes32(uint256(uint160(msg.sender)));
        bytes memory head = abi.encodePacked(
            version, localDomain, destinationDomain, bytes32(0), sender, recipient
        );
        bytes memory tail = abi.encodePacked(
            destinationCaller, minFinalityThreshold, uint32(0), messageBody
        );
        emit MessageSent(bytes.concat(head, tail));
    }

    function receiveMessage(bytes calldata message, bytes calldata attestation)
        external
        whenNotPaused
        returns (bool)
    {
        _verify(message, attestation);
        require(message.length >= 148, "Invalid message: too short");
        require(uint32(bytes4(message[8:12])) == localDomain, "Invalid destination domain");
        bytes32 caller = bytes32(message[108:140]);
        require(
            caller == bytes32(0) || caller == bytes32(uint256(uint160(msg.sender))),
            "Invalid caller for message"
        );
        require(uint32(bytes4(message[0:4])) == version, "Invalid message version");
        bytes32 nonce = bytes32(message[12:44]);
        require(usedNonces[nonce] == 0, "Nonce already used");
        usedNonces[nonce] = 1;
        _deliver(message);
        _received(message);
        return true;
    }

    function _received(bytes calldata message) private {
        emit MessageReceived(
            msg.sender,
            uint32(bytes4(message[4:8])),
            bytes32(message[12:44]),
            bytes32(message[44:76]),
            uint32(bytes4(message[144:148])),
            message[148:]
        );
    }

    function _deliver(bytes calldata message) private {
        address recipient = address(uint160(uint256(bytes32(message[76:108]))));
        AttestedMessenger(recipient).handleReceiveMessage(
            uint32(bytes4(message[4:8])),
            bytes32(message[44:76]),
            uint32(bytes4(message[144:148])),
            message[148:]
        );
    }

    function _verify(bytes calldata message, bytes calldata attestation) private view {
        require(attestation.length == 65 * signatureThreshold, "Invalid attestation length");
        bytes32 digest = keccak256(message);
        address last = address(0);
        for (uint256 n = 0; n < signatureThreshold; n++) {
            bytes calldata signature = attestation[65 * n:65 * n + 65];
            address signer = ecrecover(
                digest, uint8(signature[64]), bytes32(signature[0:32]), bytes32(signature[32:64])
            );
            require(signer > last, "Invalid signature order or dupe");
            require(isEnabledAttester[signer], "Invalid signature: not attester");
            last = signer;
        }
    }
}

/// Burns here, mints there.
///
/// Body: version 0, burnToken 4, mintRecipient 36, amount 68, messageSender 100, maxFee 132,
/// feeExecuted 164, expirationBlock 196, hook 228. Fee and expiration are the attesters' to fill.
contract AttestedMessenger is Owned {
    uint32 public constant messageBodyVersion = 1;
    uint32 public constant finalityThresholdFinalized = 2000;
    uint32 public constant finalityThresholdLowest = 500;
    uint256 public constant MIN_FEE_MULTIPLIER = 10_000_000;
    AttestedTransmitter public immutable localMessageTransmitter;
    IBurnable public immutable token;
    uint256 public minFee;
    address public feeRecipient;
    mapping(uint32 => bytes32) public remoteTokenMessengers;
    mapping(address => bool) public isDenylisted;

    event DepositForBurn(
        address indexed burnToken,
        uint256 amount,
        address indexed depositor,
        bytes32 mintRecipient,
        uint32 destinationDomain,
        bytes32 destinationTokenMessenger,
        bytes32 destinationCaller,
        uint256 maxFee,
        uint32 indexed minFinalityThreshold,
        bytes hookData
    );
    event MintAndWithdraw(
        address indexed mintRecipient,
        uint256 amount,
        address indexed mintToken,
        uint256 feeCollected
    );

    constructor(address owner_, AttestedTransmitter transmitter, IBurnable token_) Owned(owner_) {
        localMessageTransmitter = transmitter;
        token = token_;
        feeRecipient = owner_;
    }

    function addRemoteTokenMessenger(uint32 domain, bytes32 messenger) external onlyOwner {
        remoteTokenMessengers[domain] = messenger;
    }

    function setMinFee(uint256 minFee_) external onlyOwner {
        minFee = minFee_;
    }

    function setDenied(address account, bool denied) external onlyOwner {
        isDenylisted[account] = denied;
    }

    function getMinFeeAmount(uint256 amount) public view returns (uint256) {
        if (minFee == 0) return 0;
        uint256 fee = amount * minFee / MIN_FEE_MULTIPLIER;
        return fee == 0 ? 1 : fee;
    }

    function depositForBurn(
        uint256 amount,
        uint32 destinationDomain,
        bytes32 mintRecipient,
        address burnToken,
        bytes32 destinationCaller,
        uint256 maxFee,
        uint32 minFinalityThreshold
    ) external {
        require(!isDenylisted[msg.sender], "Denylistable: account is on denylist");
        require(burnToken == address(token), "Burn token not supported");
        require(amount > 0, "Amount must be nonzero");
        require(mintRecipient != bytes32(0), "Mint recipient must be nonzero");
        require(maxFee < amount, "Max fee must be less than amount");
        require(maxFee >= getMinFeeAmount(amount), "Insufficient max fee");
        bytes32 remote = remoteTokenMessengers[destinationDomain];
        require(remote != bytes32(0), "No TokenMessenger for domain");
        token.transferFrom(msg.sender, address(this), amount);
        token.burn(amount);
        bytes memory body = abi.encodePacked(
            messageBodyVersion,
            bytes32(uint256(uint160(burnToken))),
            mintRecipient,
            amount,
            bytes32(uint256(uint160(msg.sender))),
            maxFee,
            uint256(0),
            uint256(0)
        );
        localMessageTransmitter.sendMessage(
            destinationDomain, remote, destinationCaller, minFinalityThreshold, body
        );
        emit DepositForBurn(
            burnToken,
            amount,
            msg.sender,
            mintRecipient,
            destinationDomain,
            remote,
            destinationCaller,
            maxFee,
            minFinalityThreshold,
            ""
        );
    }

    function handleReceiveMessage(
        uint32 remoteDomain,
        bytes32 sender,
        uint32 finalityThresholdExecuted,
        bytes calldata body
    ) external {
        require(msg.sender == address(localMessageTransmitter), "Invalid message transmitter");
        require(
            sender != bytes32(0) && sender == remoteTokenMessengers[remoteDomain],
            "Remote TokenMessenger unsupported"
        );
        require(finalityThresholdExecuted >= finalityThresholdLowest, "Unsupported finality");
        require(uint32(bytes4(body[0:4])) == messageBodyVersion, "Invalid message body version");
        uint256 expiration = uint256(bytes32(body[196:228]));
        require(
            expiration == 0 || expiration > block.number, "Message expired and must be re-signed"
        );
        uint256 amount = uint256(bytes32(body[68:100]));
        uint256 fee = uint256(bytes32(body[164:196]));
        require(fee == 0 || fee < amount, "Fee equals or exceeds amount");
        require(fee <= uint256(bytes32(body[132:164])), "Fee exceeds max fee");
        address recipient = address(uint160(uint256(bytes32(body[36:68]))));
        require(!isDenylisted[recipient], "Denylistable: account is on denylist");
        require(token.mint(recipient, amount - fee), "Mint operation failed");
        if (fee > 0) require(token.mint(feeRecipient, fee), "Mint operation failed");
        emit MintAndWithdraw(recipient, amount - fee, address(token), fee);
    }
}
