// SPDX-License-Identifier: Apache-2.0
// Compiled into TollToken.hex by solc 0.8.30 with the settings of sep_ray/devnet/compiling.py.
pragma solidity 0.8.30;

/// A token that keeps `tollPpm` of whatever is moved, as some tokens do; its owner may change it.
contract TollToken {
    uint8 public constant decimals = 18;
    uint256 public tollPpm;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    event Transfer(address indexed from, address indexed to, uint256 value);

    constructor(address holder, uint256 supply) {
        balanceOf[holder] = supply;
    }

    function setToll(uint256 ppm) external {
        tollPpm = ppm;
    }

    function approve(address spender, uint256 units) external returns (bool) {
        allowance[msg.sender][spender] = units;
        return true;
    }

    function transfer(address to, uint256 units) external returns (bool) {
        return move(msg.sender, to, units);
    }

    function transferFrom(address from, address to, uint256 units) external returns (bool) {
        allowance[from][msg.sender] -= units;
        return move(from, to, units);
    }

    function move(address from, address to, uint256 units) private returns (bool) {
        uint256 kept = (units * tollPpm) / 1000000;
        balanceOf[from] -= units;
        balanceOf[to] += units - kept;
        emit Transfer(from, to, units - kept);
        return true;
    }
}
